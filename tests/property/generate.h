// Random histories. Times come from a coarse grid whose unit all lengths are multiples of, so that
// events fall on deadlines, on the edges of windows and on each other far more often than in life.
#pragma once

#include <cstdint>

#include "tests/property/history.h"

namespace segmentd::property {

struct Shape {
  // Events arrive in the order of their times, within the grace; otherwise with delays, some of
  // them too long.
  bool in_order = false;
  // Definitions are created, updated and deleted on the way.
  bool edits = false;
  // Half of those are deletions, and segments refer to each other all the time.
  bool removals = false;
  // Records appear again.
  bool duplicates = false;
  // Delays stay within max_lateness.
  bool never_too_late = false;
  // Records' times may go back, and the clock may be ahead of them, as with producers' timestamps.
  bool producer_times = false;
  // Definitions change while users' newest events lie ahead of the clock.
  bool ahead = false;
  // Every segment has a filter, and profiles change all the time.
  bool filters = false;
  // A few units of lateness: what late events can't reach any more is soon folded away.
  bool little_lateness = false;
  int most_records = 30;
  // What the segments are. Live kinds alone without any of these.
  //
  // Past behaviour. Units of time may be hours and days, near a change of daylight saving.
  bool past = false;
  // Live segments whose filters ask for past behaviour and for other segments.
  bool live = false;
  bool dates = false;
  bool sequences = false;
};

// The same on every machine.
History Generate(uint64_t seed, const Shape& shape);

// SplitMix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  // 0 to n - 1.
  int below(int n) { return static_cast<int>(next() % static_cast<uint64_t>(n)); }
  bool percent(int p) { return below(100) < p; }

 private:
  uint64_t state_;
};

// The same records as if each had arrived at its own time; those of a user at equal times keep
// their order.
History InOrder(const History& history);

}  // namespace segmentd::property
