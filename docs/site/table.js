// Shows the rows of a table that have all words of the field above it.
const filter = (field) => {
  const words = field.value.toLowerCase().split(/\s+/);
  const table = field.parentElement.querySelector("table.filtered");
  for (const row of table.tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
};

document.addEventListener("input", ({ target }) => {
  if (target.matches(".table-filter")) filter(target);
});
