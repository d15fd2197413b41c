from netmorph.lab.curves import draw_curves


def test_a_picture_is_written_whole(tmp_path):
    path = tmp_path / "curves.png"
    draw_curves(path, {"parent": (1, [50.0, 30.0]), "child": (2, [30.0, 28.0])}, birth=2, title="a run")
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content.endswith(b"IEND\xaeB`\x82")
