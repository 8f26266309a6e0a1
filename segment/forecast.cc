#include "segment/forecast.h"

#include <algorithm>

namespace segmentd {
namespace {

// Measured: parsing a date and moving it across time zones takes as long as so many comparisons,
// and a segment so many apart from its conditions.
constexpr int64_t kCostOfADate = 32;
constexpr int64_t kCostOfASegment = 8;
constexpr int64_t kCostOfAMeasure = 2;
// Added up in the time of a comparison.
constexpr int64_t kSamplesAtOnce = 64;
constexpr int64_t kBytesOfAnItem = 16;

// Of comparing a value with something.
int64_t CostOf(const Value& value) {
  const auto text = [](std::string_view of) {
    return 1 + static_cast<int64_t>(of.size()) / kBytesOfAnItem;
  };
  if (value.type() == ValueType::kString) return text(value.text());
  int64_t cost = 1;
  if (value.type() == ValueType::kList) {
    for (const Value& item : value.items()) {
      cost += item.type() == ValueType::kString ? text(item.text()) : 1;
    }
  }
  return cost;
}

}  // namespace

Forecast::Forecast(const RuleSet::Compiled& rules, Slot slot, const UserState& user, Time now)
    : rule_(rules.rules[slot]), user_(user), fold_(rules), now_(now) {
  state_.profile = user.present.profile;
  state_.writes_applied = user.present.writes_applied;
  state_.facts_applied = user.present.facts_applied;
  state_.exists = user.present.exists;
  const bool moves = rule_.kind != Rule::Kind::kPast || !state_.exists || late_ahead();
  fold_.restrict(moves ? absl::MakeConstSpan(&slot, 1) : absl::MakeConstSpan(rule_.inner));
  for (const SegmentState& segment : user.present.segments) {
    if (segment.slot == slot || fold_.concerns(segment.slot)) state_.segments.put(segment);
  }
  fold_.take_in(now_, state_);
  fold_.note_deadlines(state_);
  if (!moves) {
    if (SegmentState* own = state_.segments.find(slot)) own->due = Time::Max();
  }

  std::vector<Value> items;
  int64_t of_property = 1;
  for (const Profile::Property& property : state_.profile.properties()) {
    of_property = std::max(of_property, CostOf(state_.profile.find(property.name, &items)));
  }
  for (const Rule& rule : rules.rules) {
    if (fold_.concerns(rule.slot)) dearest_ = std::max(dearest_, cost(rule, of_property));
  }
}

// Without looking for each property of each segment.
int64_t Forecast::cost(const Rule& rule, int64_t of_property) const {
  int64_t cost = kCostOfASegment;
  for (const ExpressionNode& node : rule.expression) {
    cost +=
        node.kind == ExpressionNode::Kind::kProperty ? of_property : cost_of_measures(rule, node);
  }
  if (rule.kind == Rule::Kind::kDateTime) cost += kCostOfADate * of_property;
  return cost;
}

int64_t Forecast::cost(uint32_t root) const {
  std::vector<Value> items;
  int64_t cost = 0;
  for (uint32_t index = root; index < rule_.expression[root].end; ++index) {
    const ExpressionNode& node = rule_.expression[index];
    cost += node.kind == ExpressionNode::Kind::kProperty
                ? CostOf(state_.profile.find(node.property, &items))
                : cost_of_measures(rule_, node);
  }
  return cost;
}

int64_t Forecast::cost_of_measures(const Rule& rule, const ExpressionNode& node) const {
  int64_t cost = 1;
  const SegmentState* state = state_.segments.find(rule.slot);
  const bool counted = state != nullptr && !state->memory->measures.empty();
  for (uint16_t i = node.first_measure; i < node.end_measure; ++i) {
    cost += kCostOfAMeasure;
    if (!counted) continue;
    const size_t samples = rule.measures[i].added_up(state->memory->measures[i]);
    cost += static_cast<int64_t>(samples) / kSamplesAtOnce;
  }
  return cost;
}

const std::vector<Addition>& Forecast::history_ahead() const {
  static const SegmentState kNothing;
  const SegmentState* state = state_.segments.find(rule_.slot);
  return *(state != nullptr ? *state : kNothing).memory->ahead;
}

bool Forecast::late_ahead() const {
  return state_.writes_applied < user_.writes.size() || state_.facts_applied < user_.facts.size() ||
         !history_ahead().empty();
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
  if (!history_ahead().empty()) next = std::min(next, history_ahead().front().from);
  return next;
}

int64_t Forecast::advance(Time moment) {
  const int64_t before = fold_.segments_decided;
  const uint32_t applied = state_.writes_applied + state_.facts_applied;
  const Fold::Input input{
      user_.facts, &user_.writes, {user_.exists_since, user_.exists_offset}, user_.settled()};
  Time decided = Time::Min();
  Fold::Marked unused;
  changes_.clear();
  fold_.run(input, moment, {}, state_, decided, changes_, unused);
  now_ = std::max(now_, moment);
  const int64_t of_history = fold_.take_in(moment, state_);
  return dearest_ * (fold_.segments_decided - before) +
         (state_.writes_applied + state_.facts_applied - applied) + of_history;
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
  return measure.holds(of, now_, until);
}

}  // namespace segmentd
