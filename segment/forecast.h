// What becomes of a user in one segment if no event comes: the deadlines fire, one moment after the
// other, on a copy of the user's present. So the rules that decide are those of the engine, down to
// an exit put off, a sequence that goes on, or another segment that turns first.
#pragma once

#include <cstdint>
#include <vector>

#include "segment/compiled_rules.h"
#include "segment/fold.h"
#include "segment/user_state.h"

namespace segmentd {

class Forecast {
 public:
  // From `now` on, the user's. Copied is the profile and what is kept of the segment and of those
  // that it refers to, at any depth. `rules` and `user` outlive it. The segment itself moves only
  // where that is of use: of past behaviour the conditions are asked, and not evaluated with each
  // deadline besides.
  Forecast(const RuleSet::Compiled& rules, Slot slot, const UserState& user, Time now);
  // The copy's fold points into it.
  Forecast(const Forecast&) = delete;
  Forecast& operator=(const Forecast&) = delete;

  Time now() const { return now_; }
  // The next moment at which the user's state moves; Time::Max() for none.
  Time next() const;
  // Fires all up to and including `moment`, which is then now. Returns what it cost, 0 when nothing
  // moved: in parts of a condition, some 50 ns each; a regex on a long text
  // takes more.
  int64_t advance(Time moment);
  // Whether something that came too late lies ahead: any condition may turn with it.
  bool late_ahead() const;

  // Of a live segment. What is in past behaviour is its first node.
  bool member() const;
  // Whether a node of the segment's expression holds now. `until` becomes the earliest later moment
  // at which that may turn, but for those of next().
  bool holds(uint32_t node, Time* until);
  // Whether one measure of the segment does, likewise.
  bool measure_holds(size_t measure, Time* until) const;
  // What looking at a node costs, in the same unit.
  int64_t cost(uint32_t node) const;

 private:
  // Of the segment's own.
  const std::vector<Addition>& history_ahead() const;
  int64_t cost(const Rule& rule, int64_t of_property) const;
  int64_t cost_of_measures(const Rule& rule, const ExpressionNode& node) const;

  const Rule& rule_;
  const UserState& user_;
  Fold fold_;
  FoldState state_;
  Time now_;
  // Of going through one of the segments.
  int64_t dearest_ = 0;
  // Scratch.
  Changes changes_;
};

}  // namespace segmentd
