// The tokenizer of mini: byte pairs on lower case, as its tokenizer.json says.
const WORD = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** Return the letters that stand for the 256 bytes: themselves, or others where nothing shows. */
function letters() {
  const shows = (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let hidden = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(shows(byte) ? byte : hidden++));
}

/** Return what makes ids and mask of a prompt, of a parsed tokenizer.json. */
export function tokenizer({ model, truncation, padding }) {
  const letterOf = letters();
  const rank = new Map(model.merges.map((pair, place) => [pair.join(" "), place]));
  const length = truncation.max_length;

  function join(word) {
    const parts = [...word];
    for (;;) {
      let best = { place: -1, rank: Infinity };
      for (let place = 0; place + 1 < parts.length; place++) {
        const own = rank.get(`${parts[place]} ${parts[place + 1]}`) ?? Infinity;
        if (own < best.rank) best = { place, rank: own };
      }
      if (best.place < 0) return parts;
      parts.splice(best.place, 2, parts[best.place] + parts[best.place + 1]);
    }
  }

  return (prompt) => {
    const text = prompt.normalize("NFKC").toLowerCase();
    const words = (text.startsWith(" ") ? text : ` ${text}`).match(WORD) ?? [];
    const bytes = (word) => Array.from(new TextEncoder().encode(word), (byte) => letterOf[byte]);
    const inner = words.flatMap((word) => join(bytes(word))).map((part) => model.vocab[part]);
    const ids = [model.vocab["<start>"], ...inner.slice(0, length - 2), model.vocab["<end>"]];
    const missing = length - ids.length;
    return {
      ids: [...ids, ...Array(missing).fill(padding.pad_id)],
      mask: [...Array(ids.length).fill(1), ...Array(missing).fill(0)],
    };
  };
}
