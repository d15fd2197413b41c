from reproduction.markdown import to_html


def test_headings_go_down_by_one():
    assert to_html("# A\n\n## B") == "<h2>A</h2>\n<h3>B</h3>"


def test_lists_within_lists():
    assert to_html("- a\n  - b\n  - c\n- d") == "<ul><li>a<ul><li>b</li><li>c</li></ul></li><li>d</li></ul>"


def test_tables():
    html = to_html(f"| a | b |\n| --- | ---: |\n| 1 | **2** |\n| {'long ' * 9} | 3 |")
    assert "<thead><tr><th class=short>a</th><th class=short>b</th></tr></thead>" in html
    assert "<tr><td class=short>1</td><td class=short><b>2</b></td></tr>" in html
    assert f"<tr><td>{('long ' * 9).strip()}</td><td class=short>3</td></tr>" in html


def test_paragraphs_are_text():
    assert to_html("a\nb `x < y` <script>") == "<p>a b <code>x &lt; y</code> &lt;script&gt;</p>"
