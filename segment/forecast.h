// What becomes of a user in one segment if no event comes: the deadlines fire, one moment after the
// other, on a copy of the user's present. So the rules that decide are those of the engine, down to
// an exit put off, a sequence that goes on, or another segment that turns first.
#pragma once

#include <cstdint>

#include "segment/compiled_rules.h"
#include "segment/fold.h"
#include "segment/user_state.h"

namespace segmentd {

class Forecast {
 public:
  // From `now` on, the user's. Copied is the profile and what is kept of the segment and of those
  // that it refers to, at any depth. `rules` and `user` outlive it.
  Forecast(const RuleSet::Compiled& rules, Slot slot, const UserState& user, Time now);
  // The copy's fold points into it.
  Forecast(const Forecast&) = delete;
  Forecast& operator=(const Forecast&) = delete;

  Time now() const { return now_; }
  // The next moment at which the user's state moves; Time::Max() for none.
  Time next() const;
  // Fires all up to and including `moment`, which is then now. Returns how many segments were gone
  // through for it.
  int64_t advance(Time moment);

  bool member() const;
  // Whether a node of the segment's expression holds now. `until` becomes the earliest later moment
  // at which that may turn, but for those of next().
  bool holds(uint32_t node, Time* until);
  // Whether one measure of the segment does, likewise.
  bool measure_holds(size_t measure, Time* until) const;

 private:
  const Rule& rule_;
  const UserState& user_;
  Fold fold_;
  FoldState state_;
  Time now_;
  // Scratch.
  Changes changes_;
};

}  // namespace segmentd
