// How a user's state moves: one event, one moment of deadlines. Used alike for the present, for a
// base that moves on and for the second fold that a late event asks for, so that all of them decide
// the same.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "segment/change.h"
#include "segment/compiled_rules.h"
#include "segment/user_state.h"

namespace segmentd {

// One event as the fold needs it.
struct FoldEvent {
  EventOrder order;
  std::string_view name;
  // Only in changes of the event being applied.
  std::string_view message_id;
};

// Scratch and rules of one engine; no state of a user stays in it between calls.
class Fold {
 public:
  // `rules` outlives the fold.
  explicit Fold(const RuleSet::Compiled& rules);

  // Gathers what an event means to each segment: begin, a hit for each atom met, then step.
  void begin_event();
  void hit(const Atom& atom, uint64_t value, Offset offset);
  // The same, only for order-free segments or only for the others.
  void hit(const Atom& atom, uint64_t value, Offset offset, bool order_free);
  // Whether any segment is touched by the hits.
  bool touched() const { return !touched_.empty(); }
  // Takes the event to all segments touched, in the order of slots.
  void step(const FoldEvent& event, FoldState& state, Changes& out);

  // All deadlines at exactly `moment`, as one step.
  void fire(Time moment, FoldState& state, Changes& out);

  // The writes that take effect up to `order` (included) enter the profile; order.offset -1 leaves
  // out those at order.time.
  void apply_writes(const std::vector<ProfileWrite>& writes, EventOrder order, FoldState& state);

  // The earliest deadline of the state.
  Time next_deadline(const FoldState& state) const;

  // Folds facts and writes onto `state` but for order-free segments, with the deadlines between
  // them, then the deadlines up to and including `until`. `decided` becomes the newest deadline
  // that fired, if any. The changes that the event at `mark` made in its own step are noted in
  // `marked`: none, at the end, when it has no fact.
  struct Marked {
    size_t begin = 0;
    size_t end = 0;
  };
  void run(absl::Span<const Fact> facts, const std::vector<ProfileWrite>& writes, Time until,
           EventOrder mark, FoldState& state, Time& decided, Changes& out, Marked& marked);

  bool filter_holds(const LiveRule& rule, const Profile& profile, Time at);
  // One node of a filter with all below it.
  bool holds(const std::vector<FilterNode>& filter, uint32_t node, const Profile& profile, Time at);

  int64_t pendings_dropped = 0;
  int64_t writes_refused = 0;

 private:
  struct Touch {
    Slot slot;
    Roles roles;
    uint8_t trigger;
    uint64_t value;
  };

  void step_rule(const LiveRule& rule, const Touch& touch, const FoldEvent& event, FoldState& state,
                 Changes& out);
  bool count_page(const LiveRule& rule, const Touch& touch, Time at, SegmentState& segment);
  void step_inaction(const LiveRule& rule, const Touch& touch, const FoldEvent& event,
                     SegmentState& segment, Changes& out);
  void leave(const LiveRule& rule, const FoldEvent& event, SegmentState& segment, Changes& out);

  void touch(const Subscription& subscription, uint64_t value);

  const RuleSet::Compiled* rules_;
  std::vector<Touch> touched_;
  // By slot: place in touched_ plus one, 0 for untouched.
  std::vector<uint32_t> place_;
  std::vector<Value> items_;
};

}  // namespace segmentd
