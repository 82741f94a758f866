"""Review in the page: by keyboard, undone, kept, exported, and applied in Python."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import review_files

import ambigmnist as am
from ambigmnist.review import Pin
from browser.conftest import exported, listed, press


def until_judged(page, count):
    """What another window saved arrives a little later; the page allows no script to wait in it."""
    for _ in range(50):
        if page.evaluate("judgedHere") == count:
            return
        page.wait_for_timeout(20)
    assert page.evaluate("judgedHere") == count


def queue(page):
    return page.evaluate("R.queue.map(item => INDEX[item.n])")


@pytest.mark.mnist
def test_twenty_by_keyboard_end_in_the_corrected_idx(mnist, tmp_path, opened):
    """Judge twenty, undo, reload, export, apply: the IDX file differs in exactly those labels."""
    page = opened(mnist.path)
    press(page, "r")
    order, given = queue(page), mnist.data.labels
    assert sorted(order) == sorted(listed(page))
    assert order != listed(page)  # blind: the order says nothing
    expected = {}
    for step, i in enumerate(order[:20]):
        if step % 4 == 3:
            press(page, "u")
        elif step % 4 == 2:
            press(page, f"a{given[i]}{(given[i] + 3) % 10}")
        else:
            label = (int(given[i]) + step % 2) % 10  # keep, relabel
            press(page, str(label))
            if step % 2:
                expected[i] = label
    press(page, "zz")  # the last two: unreadable, two readings
    page.keyboard.press("Control+z")  # and a relabel
    expected.pop(order[17], None)
    press(page, str(given[order[17]]))
    page.keyboard.press("Escape")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.inner_text("#count") == "18 of 1,000 judged"
    path = tmp_path / "review.json"
    file = exported(page, path)
    assert [d["index"] for d in file["decisions"]] == sorted(order[:18])
    assert sum(d.get("undone", False) for d in file["history"]) == 3
    assert all(d["blind"] and d["ms"] >= 0 for d in file["decisions"])
    review = am.load_review(path)
    assert review.dataset == Pin.of_evidence(mnist.ev, "MNIST test")
    corrected = am.apply_review(mnist.data, review)
    before, after = tmp_path / "before", tmp_path / "after"
    for folder, data in ((before, mnist.data), (after, corrected)):
        folder.mkdir()
        am.save_idx(data.labels.astype(np.uint8), folder / "labels")
    a, b = ((folder / "labels").read_bytes() for folder in (before, after))
    assert {i - 8: b[i] for i in range(len(a)) if a[i] != b[i]} == expected


def test_blind_hides_everything(digits, opened):
    page = opened(digits.path)
    press(page, "r")
    i = queue(page)[0]
    given, read = digits.ev.given[i], digits.ev.predicted[i]
    text = page.inner_text("#review")
    tree = page.locator("#review").aria_snapshot()
    for shown in (text, tree):
        assert "label" not in shown.lower().replace(
            "after each judgement you see here what label", ""
        )
        assert f"#{i}" not in shown
        assert f"image {i}" not in shown
    assert "Keep" not in text
    press(page, "km")  # which would give the answer away
    assert page.evaluate("log.length") == 0
    press(page, "b")
    assert f"label {given}" in page.inner_text("#facts").replace("\n", " ")
    assert f"model {read}" in page.inner_text("#facts").replace("\n", " ")
    press(page, "k")
    (decision,) = page.evaluate("log")
    assert (decision["verdict"], decision["labels"], decision["blind"]) == ("keep", [given], False)


def test_undo_without_limit(digits, opened):
    page = opened(digits.path)
    press(page, "r" + "u" * 40)
    assert page.evaluate("judgedHere") == 40
    press(page, "z" * 45)
    assert page.evaluate("judgedHere") == 0
    assert page.evaluate("R.at") == 0
    press(page, "a1")
    assert "Two readings: 1" in page.inner_text("#ask")
    press(page, "a")  # cancelled
    assert page.inner_text("#ask") == "Which digit is this?"


def test_skipped_come_last_and_notes_are_kept(digits, opened):
    page = opened(digits.path)
    page.fill("#find", "fold 1 fold1")
    press(page, "")
    page.locator("#list").focus()
    press(page, "r")
    first = queue(page)
    press(page, "s")
    press(page, "n")
    page.keyboard.type("12 and r")
    page.keyboard.press("Enter")
    press(page, "u")
    page.keyboard.press("Escape")
    notes = page.evaluate("Object.fromEntries([...mine].map(([i, d]) => [i, d.note]))")
    assert notes == {str(first[0]): "", str(first[1]): "12 and r"}
    press(page, "r")
    assert queue(page)[-1] == first[0]
    assert first[1] not in queue(page)


def test_the_panel_judges_too(digits, tmp_path, opened):
    page = opened(digits.path)
    i = listed(page)[0]
    given = int(digits.ev.given[i])
    page.click("#detail .judge button:nth-child(2)")  # It is ...
    page.fill("#detail .note input", "by mouse")
    page.keyboard.press("Enter")
    page.click("text=other…")
    page.fill("#choose-find", str((given + 5) % 10))
    page.keyboard.press("Enter")
    file = exported(page, tmp_path / "r.json")
    (decision,) = file["decisions"]
    assert decision["labels"] == [(given + 5) % 10]
    assert (decision["index"], decision["given"], decision["note"]) == (i, given, "by mouse")
    assert decision["ms"] is None
    assert len(file["history"]) == 2  # superseded
    assert len(am.load_review(tmp_path / "r.json").history) == 2


def test_the_end(digits, opened):
    page = opened(digits.path)
    page.fill("#find", str(listed(page)[0]))
    page.locator("#list").focus()
    press(page, "r")
    for _ in queue(page):
        press(page, "u")
    assert page.inner_text("#ask") == "All done. Export to keep your decisions."
    assert page.locator("#facts .primary").is_visible()
    with page.expect_download():
        press(page, "e")
    press(page, "z")
    assert page.inner_text("#ask") == "Which digit is this?"


def test_controls_and_repeats(digits, tmp_path, opened):
    page = opened(digits.path)
    press(page, "?")
    page.fill("#options input[type=text]", "Zoë Ω / 1")
    page.check("text=Mix in 10 % plain images")
    page.check("text=Show 5 % of the images twice")
    page.click("#help .primary")
    page.click("#v-ambiguous")
    shown = listed(page)
    page.locator("#list").focus()
    press(page, "r")
    items = page.evaluate("R.queue.map(q => [INDEX[q.n], !!q.control, !!q.repeat])")
    controls = [i for i, control, repeat in items if control and not repeat]
    repeats = [i for i, _, repeat in items if repeat]
    assert len(controls) == -(-len(shown) // 10)
    assert not set(controls) & set(shown)
    assert len(repeats) == -(-(len(shown) + len(controls)) // 20)
    for i, _, repeat in items:
        if repeat:
            press(page, "u")
        else:
            press(page, str(digits.ev.given[i]))
    assert "plain images right" in page.inner_text("#facts")
    assert f"0 of {len(repeats)}" in page.inner_text("#facts")
    file = exported(page, tmp_path / "r.json")
    assert file["reviewer"] == "Zoë Ω / 1"
    assert file["settings"]["controls"] == 0.1
    assert isinstance(file["settings"]["seed"], int)
    assert sorted(d["index"] for d in file["decisions"] if d["control"]) == sorted(controls)
    assert [d["index"] for d in file["history"] if d.get("repeat")] == repeats
    assert all(d["verdict"] == "keep" for d in file["decisions"])  # a repeat replaces nothing
    am.load_review(tmp_path / "r.json")


def test_keys_can_be_changed_and_switched_off(digits, opened):
    page = opened(digits.path)
    press(page, "?")
    change = page.get_by_role("button", name="Unreadable: key u, change")
    change.click()
    press(page, "s")  # taken
    assert "S is Skip" in change.inner_text()
    page.get_by_role("button", name="Unreadable: key u, change").click()
    press(page, "x")
    page.click("#help .primary")
    press(page, "rx")
    assert page.evaluate("log[0].verdict") == "unreadable"
    press(page, "u")
    assert page.evaluate("log.length") == 1
    page.keyboard.press("Escape")
    press(page, "?")
    page.uncheck("text=Single-key shortcuts")
    page.click("#help .primary")
    press(page, "r")
    assert not page.evaluate("dialog.open")
    page.click("#do-review")
    press(page, "1x")
    assert page.evaluate("log.length") == 1
    page.click("#classes button:nth-child(3)")
    assert page.evaluate("log.length") == 2


def test_import_of_good_and_bad_files(digits, tmp_path, opened):
    page = opened(digits.path)
    shown = listed(page)
    dataset = page.evaluate("D.dataset")
    good = review_files.sound(dataset, digits.ev.given_index.tolist())
    missing = next(i for i in range(10, digits.ev.n) if i not in shown)
    given = int(digits.ev.given_index[missing])
    good["decisions"].append({**good["decisions"][3], "index": missing, "given": given})

    def give(content: bytes | dict) -> str:
        if isinstance(content, dict):
            content = json.dumps(content).encode()
        file = {"name": "x <b>.json", "mimeType": "application/json", "buffer": content}
        page.set_input_files("#file", file)
        page.wait_for_timeout(60)
        return page.inner_text("#banner") if page.locator("#banner").is_visible() else ""

    for name, change, _, expected in review_files.BAD:
        bad = copy.deepcopy(good)
        change(bad)
        text = give(bad)
        assert expected in text, name
        assert text.startswith("“x <b>.json” was not imported: "), name
        assert text.endswith("Nothing was changed."), name
        assert page.evaluate("log.length") == 0, name
    for content in review_files.BROKEN:
        assert "Nothing was changed." in give(content)
    for key in ("images_sha256", "labels_sha256"):
        other = copy.deepcopy(good)
        other["dataset"][key] = "f" * 64
        assert f"it belongs to other data ({key} is ffffffffffff…, here" in give(other)
    assert give(json.dumps(good).encode()[:-40]) != ""
    foreign = 1 + len(set(range(5)) - set(shown))
    assert f"{foreign} of them on images that this page does not show" in give(good)
    back = exported(page, tmp_path / "back.json")
    assert back["decisions"] == good["decisions"]
    assert back["history"] == good["history"]
    assert back["of a later version"] == {"kept": True}
    assert am.load_review(tmp_path / "back.json").decisions[0].note == review_files.NOTE


def test_two_windows(digits, opened):
    one = opened(digits.path)
    two = opened(digits.path, into=one.context)
    press(one, "ruu")
    until_judged(two, 2)
    assert "another window" in two.inner_text("#banner")
    press(two, "ru")
    until_judged(one, 3)
    press(two, "zz")
    until_judged(one, 1)


def test_storage_in_blocks(digits, opened):
    page = opened(digits.path)
    page.evaluate("for (let k = 0; k < 1203; k++) decide(k % 300, 'unreadable', [])")
    keys = page.evaluate("Object.keys(localStorage).filter(k => /\\.\\d+$/.test(k)).sort()")
    assert [key.rsplit(".", 1)[1] for key in keys] == ["0", "1", "2"]
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("log.length") == 1203
    page.evaluate("for (let k = 0; k < 210; k++) undo()")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("log.length") == 993


def test_storage_refused(digits, tmp_path, opened):
    page = opened(digits.path)
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    press(page, "ru")
    page.keyboard.press("Escape")
    assert "export before you close the page" in page.inner_text("#banner")
    assert page.evaluate("judgedHere") == 1
    assert len(exported(page, tmp_path / "r.json")["decisions"]) == 1


def test_a_store_full_of_nonsense(digits, opened):
    """Other pages from the same disk may have written anything."""
    page = opened(digits.path)
    press(page, "ru")
    page.evaluate("""() => {
        const nonsense = [null, 3, {}, {index: 1e9}, ...log, {index: 0, labels: 'x'}];
        localStorage.setItem(`${KEY}.0`, JSON.stringify(nonsense));
        localStorage.setItem(`${KEY}.past`, '{"a": 1}');
        localStorage.setItem(`${KEY}.more`, '[1]');
        localStorage.setItem(`${KEY}.seed`, '"x"');
        for (const name of ['settings', 'reviewer', 'theme', 'nokeys', 'stored'])
            localStorage.setItem(`ambigmnist.${name}`, '{');
        localStorage.setItem('ambigmnist.keys', '{"undo": 7, "x": "y"}');
    }""")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("log.length") == 1
    press(page, "ru")
    assert page.evaluate("log.length") == 2
    press(page, "zz")
    assert page.evaluate("log.length") == 0


def test_report_of_conflicts(digits, tmp_path, opened):
    """Both judgements stay hidden until a third is made."""
    from ambigmnist.review import Decision, Review

    ev, pin = digits.ev, Pin.of_evidence(digits.ev, "digits")
    given = ev.given_index.tolist()
    reviews = [
        Review(
            pin,
            who,
            tuple(Decision(i, given[i], "relabel", ((given[i] + n) % 10,)) for i in (5, 9)),
        )
        for n, who in ((1, "ann"), (2, "bob"))
    ]
    merged = am.merge_reviews(reviews)
    am.report(ev, tmp_path / "conflicts.html", where=merged)
    page = opened(tmp_path / "conflicts.html")
    assert sorted(listed(page)) == [5, 9]
    press(page, "r")
    i = queue(page)[0]
    assert "ann" not in page.inner_text("#review")
    press(page, str(given[i]))
    assert f"ann: relabel {(given[i] + 1) % 10}" in page.inner_text("#last")
    assert f"bob: relabel {(given[i] + 2) % 10}" in page.inner_text("#last")
