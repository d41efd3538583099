"""How long it takes from a slider's move to the new picture: written down, and never a reason to fail."""

import json
import statistics


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def drag(here, slider, seconds=2.5):
    """Drag a slider's thumb to and fro with the mouse, at some sixty moves a second."""
    box = here.page.locator(f'[id="s-{slider}"]').bounding_box()
    y = box["y"] + box["height"] / 2
    here.page.mouse.move(box["x"] + 0.5 * box["width"], y)
    here.page.mouse.down()
    moves = int(seconds * 60)
    for move in range(moves):
        share = 0.5 + 0.35 * (1 - abs(4 * ((move / moves) % 1) - 2))
        here.page.mouse.move(box["x"] + share * box["width"], y)
        here.page.wait_for_timeout(16)
    here.page.mouse.up()


def test_sliders_are_followed(visit, summary, shots):
    here = visit()
    here.demo()
    times, sizes = {}, []
    for tab, slider in (
        ("light", "azimuth"),
        ("expression", "open-mouth"),
        ("pose", "yaw"),
        ("face", "tone"),
    ):
        here.tab(tab)
        here.settle()
        known = len(here.times())
        drag(here, slider)
        here.settle()
        times[slider] = here.times()[known:]
        sizes += here.sizes()[known:]
        assert len(times[slider]) >= 5, slider
    every = [one for values in times.values() for one in values]
    for slider, values in {**times, "all": every}.items():
        median, p95 = statistics.median(values), percentile(values, 0.95)
        line = f"slider_ms_median={median:.0f} slider_ms_p95={p95:.0f} pictures={len(values)}"
        summary.append(line if slider == "all" else f"{line} slider={slider}")
    counts = ", ".join(f"{sizes.count(size)} of {size}" for size in sorted(set(sizes), reverse=True))
    summary.append(f"pictures by side in pixels: {counts}")
    (shots / "latency.json").write_text(json.dumps(times, indent=1))
