#!/usr/bin/env python3
"""Makes the data of the lessons. The same seed gives the same files: python3 examples/data/make.py

Texts in words/ are written by hand and not touched."""

import csv
import json
import random
from datetime import datetime, timedelta
from pathlib import Path

HERE = Path(__file__).parent
START = datetime(2024, 6, 1, 8, 0, 0)


def stamp(time):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def orders(rng):
    """csv_folder: three days of orders, one file a day; some amounts are missing, some goods contain commas."""
    goods = ["rope", "anchor, small", "anchor, large", "lantern", "map \"north\"", "oar"]
    number = 1000
    for day in range(3):
        rows = []
        for _ in range(12):
            number += 1
            amount = "" if rng.random() < 0.1 else f"{rng.uniform(2, 90):.2f}"
            rows.append([number, (START + timedelta(days=day)).date().isoformat(), rng.choice(goods), rng.randint(1, 5), amount])
        table(HERE / "orders" / f"day-{day + 1}.csv", ["id", "day", "good", "pieces", "amount"], rows)


def voters(rng):
    """voters: nested JSON, one voter a line, one file a county."""
    for county in ["Alder", "Birch", "Cedar"]:
        rows = []
        for number in range(40):
            rows.append({
                "id": f"{county[0]}{number:03}",
                "person": {"gender": rng.choice("FFFMMMX"), "age": rng.randint(18, 97)},
                "party": rng.choice(["Green", "Blue", "Blue", "Gold", "Gold", None]),
                "address": {"county": county, "zip": f"{rng.randint(10000, 99999)}"},
            })
        lines(HERE / "voters" / f"{county.lower()}.json", rows)


def influenza(rng):
    """influenza: weekly reports of laboratories, one file a season; a few reports lack the number of tests."""
    regions = {"North": 60, "South": 25, "East": 40, "West": 30}
    for year in [2022, 2023]:
        rows = []
        for week in [48, 49, 50, 51, 52]:
            for region, usual in regions.items():
                for laboratory in range(2):
                    tested = rng.randint(usual, 4 * usual)
                    positive = rng.randint(0, tested // 2)
                    rows.append([year, week, region, f"{region[0]}{laboratory + 1}", "N/A" if rng.random() < 0.05 else tested, positive])
        table(HERE / "influenza" / f"{year}.csv", ["year", "week", "region", "laboratory", "tested", "positive"], rows)


def names(rng):
    """name_age: lines as they come through a socket; two of them are broken."""
    people = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana"]
    rows = [f"{rng.choice(people)},{rng.randint(8, 90)}" for _ in range(24)]
    rows[7], rows[15] = "Ivo,unknown", "Jo"
    (HERE / "names.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")


def sensors(rng):
    """sensor_windows: three devices, a reading every 20 seconds or so, out of order by up to 3 minutes, one much too late."""
    readings = []
    for second in range(0, 40 * 60, 20):
        time = START + timedelta(seconds=second)
        device = rng.choice(["dam", "lock", "weir"])
        row = {"device": device, "time": stamp(time), "temperature": round(rng.gauss(14, 3), 1)}
        readings.append((second + rng.randint(0, 180), row))
    readings.sort(key=lambda reading: reading[0])
    rows = [row for _, row in readings]
    rows.append({"device": "dam", "time": stamp(START + timedelta(minutes=1)), "temperature": 99.9})
    third = len(rows) // 3
    for part, rows in enumerate([rows[:third], rows[third:2 * third], rows[2 * third:]]):
        lines(HERE / "sensors" / f"{part + 1}.json", rows)


def ads(rng):
    """ad_clicks: impressions, and the clicks that some of them get within minutes."""
    impressions, clicks = [], []
    for ad in range(40):
        shown = START + timedelta(seconds=45 * ad + rng.randint(0, 30))
        impressions.append({"ad": ad, "shown": stamp(shown), "site": rng.choice(["news", "shop", "blog"])})
        if rng.random() < 0.5:
            clicks.append({"clicked_ad": ad, "clicked": stamp(shown + timedelta(seconds=rng.randint(2, 900)))})
    clicks.sort(key=lambda click: click["clicked"])
    for name, rows in [("impressions", impressions), ("clicks", clicks)]:
        half = len(rows) // 2
        lines(HERE / "ads" / name / "1.json", rows[:half])
        lines(HERE / "ads" / name / "2.json", rows[half:])


def spoken(rng):
    """windowed_word_count: sentences with the instant at which they were said."""
    words = ["river", "stone", "boat", "rain", "the", "a", "deep", "runs", "waits", "under"]
    rows = []
    for second in range(0, 25 * 60, 60):
        time = START + timedelta(seconds=second + rng.randint(0, 50))
        rows.append([stamp(time), " ".join(rng.choices(words, k=rng.randint(3, 6)))])
    half = len(rows) // 2
    table(HERE / "spoken" / "1.csv", ["time", "sentence"], rows[:half])
    table(HERE / "spoken" / "2.csv", ["time", "sentence"], rows[half:])


def payments(rng):
    """fraud: payments by card; now and then a tiny one that is followed by a large one within a minute or two."""
    rows = []
    for number in range(60):
        second, card = 15 * number + rng.randint(0, 10), f"card-{rng.randint(1, 8)}"
        if rng.random() < 0.15:
            rows.append((second, card, rng.randint(1, 99)))
            rows.append((second + rng.choice([20, 45, 100]), card, rng.randint(50_000, 90_000)))
        else:
            rows.append((second, card, rng.randint(300, 60_000)))
    rows.sort()
    rows = [{"card": card, "time": stamp(START + timedelta(seconds=second)), "cents": cents} for second, card, cents in rows]
    for part in range(3):
        lines(HERE / "payments" / f"{part + 1}.json", rows[part * len(rows) // 3:(part + 1) * len(rows) // 3])


if __name__ == "__main__":
    for part in [orders, voters, influenza, names, sensors, ads, spoken, payments]:
        part(random.Random(f"thalweg {part.__name__}"))
