"""Draws all golden pictures anew and stores their thumbnails: python -m tests.golden.renew."""

from tests.golden import sheet
from tests.golden.cases import CASES


def renew():
    stored = sheet.read()
    rows = {name: sheet.thumbnails(draw()) for name, draw in CASES.items()}
    changed = []
    for name in rows.keys() & stored.keys():
        if rows[name].shape != stored[name].shape:
            changed.append((float("inf"), f"{name}: other pictures than before"))
        elif (gap := sheet.difference(rows[name], stored[name])).most:
            line = f"{name}: mean {gap.mean:.3f}, most {gap.most:.0f} levels"
            changed.append((gap.mean, line if gap.is_tolerable else f"{line}, not tolerable"))
    sheet.write(rows)
    for _, line in sorted(changed, reverse=True):
        print(line)  # noqa: T201 - a command
    added, dropped = len(rows.keys() - stored.keys()), len(stored.keys() - rows.keys())
    print(f"{len(rows)} cases: {len(changed)} changed, {added} added, {dropped} dropped")  # noqa: T201 - a command


if __name__ == "__main__":
    renew()
