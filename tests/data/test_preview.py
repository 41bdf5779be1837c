from swiftpie.data.stickers import contact_sheet


def test_contact_sheet_has_room_for_every_row(batch):
    sheet = contact_sheet(batch, columns=4)
    assert sheet.size == (4 * (3 * 64 + 2), 6 * (64 + 2))
    assert len(sheet.getcolors(maxcolors=2**20)) > 500
