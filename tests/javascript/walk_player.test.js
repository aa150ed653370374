import assert from "node:assert/strict";
import { test } from "node:test";
import { WALK_KEYS, WALK_SPEEDS, WalkPlayer } from "../../vmamba_explore/view/live/walk_player.js";

test("space and the arrows read one token more or go one back, and stop at the ends", () => {
  const player = new WalkPlayer(4);
  const after = (key) => {
    assert.equal(player.press(key), true);
    return player.at;
  };
  assert.deepEqual([" ", " ", "ArrowLeft", "ArrowRight", "ArrowRight", " ", " "].map(after), [1, 2, 1, 2, 3, 3, 3]);
  assert.deepEqual(["Home", "ArrowLeft", "End"].map(after), [0, 0, 3]);
});

test("another key means nothing to the scan and moves nothing", () => {
  const player = new WalkPlayer(4);
  player.go(2);
  for (const key of ["Enter", "x", "ArrowUp", "Tab", "toString"]) assert.equal(player.press(key), false, key);
  assert.equal(player.at, 2);
});

test("a step by hand stops what plays", () => {
  for (const key of [" ", "ArrowRight", "ArrowLeft", "Home", "End"]) {
    const player = new WalkPlayer(9);
    player.press("p");
    assert.equal(player.playing, true);
    player.press(key);
    assert.equal(player.playing, false, key);
  }
});

test("playing reads as many tokens as the speed says, whatever the pace of the screen", () => {
  for (const pace of [1, 7, 16, 40, 250]) {
    const player = new WalkPlayer(10_000);
    player.speed = 32;
    player.toggle();
    for (let passed = 0; passed < 4000; passed += pace) player.pass(Math.min(pace, 4000 - passed));
    assert.ok(Math.abs(player.at - 128) <= 1, `${player.at} tokens at ${pace} ms`);
  }
});

test("playing ends with the last token, and starts from the first one again", () => {
  const player = new WalkPlayer(5);
  player.toggle();
  player.pass(60_000);
  assert.deepEqual([player.at, player.playing], [4, false]);
  player.pass(60_000);
  assert.equal(player.at, 4);
  player.toggle();
  assert.deepEqual([player.at, player.playing], [0, true]);
});

test("nothing moves while it is paused, and a pause forgets the part of a token that was due", () => {
  const player = new WalkPlayer(5);
  player.pass(10_000);
  assert.equal(player.at, 0);
  player.speed = 2;
  player.toggle();
  player.pass(499);
  player.toggle();
  player.toggle();
  player.pass(499);
  assert.equal(player.at, 0);
});

test("a jump beyond the scan ends at its end, and one token is a scan", () => {
  const player = new WalkPlayer(3);
  for (const [to, at] of [[99, 2], [-4, 0], [1.4, 1]]) {
    player.go(to);
    assert.equal(player.at, at);
  }
  const single = new WalkPlayer(1);
  single.press(" ");
  single.toggle();
  single.pass(1000);
  assert.deepEqual([single.at, single.playing], [0, false]);
});

test("every key that is told of is one that works, and the first speed can be followed by eye", () => {
  const named = { Space: " ", "→": "ArrowRight", "←": "ArrowLeft" };
  for (const [keys] of WALK_KEYS) {
    for (const key of keys.split(", ")) assert.equal(new WalkPlayer(3).press(named[key] ?? key), true, key);
  }
  assert.ok(WALK_SPEEDS[0] <= 2);
});
