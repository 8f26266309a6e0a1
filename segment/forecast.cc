#include "segment/forecast.h"

#include <algorithm>

namespace segmentd {

Forecast::Forecast(const RuleSet::Compiled& rules, Slot slot, const UserState& user, Time now)
    : rule_(rules.rules[slot]), user_(user), fold_(rules), now_(now) {
  fold_.restrict(slot);
  state_.profile = user.present.profile;
  state_.writes_applied = user.present.writes_applied;
  state_.facts_applied = user.present.facts_applied;
  state_.exists = user.present.exists;
  for (const SegmentState& segment : user.present.segments) {
    if (fold_.concerns(segment.slot)) state_.segments.put(segment);
  }
  fold_.note_deadlines(state_);
}

Time Forecast::next() const {
  Time next = Fold::next_deadline(state_);
  // What came too late and lies ahead.
  if (const size_t n = state_.writes_applied; n < user_.writes.size()) {
    next = std::min(next, user_.writes[n].effective);
  }
  if (const size_t n = state_.facts_applied; n < user_.facts.size()) {
    next = std::min(next, user_.facts[n].order.time);
  }
  return next;
}

int64_t Forecast::advance(Time moment) {
  const int64_t before = fold_.segments_decided;
  const Fold::Input input{
      user_.facts, &user_.writes, {user_.exists_since, user_.exists_offset}, user_.settled()};
  Time decided = Time::Min();
  Fold::Marked unused;
  changes_.clear();
  fold_.run(input, moment, {}, state_, decided, changes_, unused);
  now_ = std::max(now_, moment);
  return fold_.segments_decided - before;
}

bool Forecast::member() const {
  const SegmentState* state = state_.segments.find(rule_.slot);
  return state != nullptr && state->member;
}

bool Forecast::holds(uint32_t node, Time* until) {
  return fold_.holds(rule_, node, state_, now_, until);
}

bool Forecast::measure_holds(size_t index, Time* until) const {
  static const MeasureState kNothing;
  const SegmentState* state = state_.segments.find(rule_.slot);
  const bool counted = state != nullptr && !state->memory->measures.empty();
  const Measure& measure = rule_.measures[index];
  const MeasureState& of = counted ? state->memory->measures[index] : kNothing;
  const Time at = counted ? std::max(now_, state->memory->counted_at) : now_;
  *until = measure.next_change(of, at);
  return measure.holds(of, at);
}

}  // namespace segmentd
