// How a user's state moves: one event, one moment of deadlines. Used alike for the present, for a
// base that moves on and for the second fold that a late event asks for, so that all of them decide
// the same.
//
// A step gathers what touches each segment (events that are triggers or are counted, profile
// properties that changed, deadlines), counts what is to be counted, and then goes through the
// segments touched by rank: a segment comes after those that it refers to, and a change of one
// touches those that refer to it.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "segment/change.h"
#include "segment/compiled_rules.h"
#include "segment/turns.h"
#include "segment/user_state.h"

namespace segmentd {

// One event as the fold needs it.
struct FoldEvent {
  // Its place; of an event that came too late, the moment from which it counts.
  EventOrder order;
  // Its own time.
  Time at;
  std::string_view name;
  // Only in changes of the event being applied.
  std::string_view message_id;
};

// Whether a state is as good as none. Only of kinds whose state is made before it is known whether
// there is anything to keep.
bool SaysNothing(const Rule& rule, const SegmentState& segment);

// Scratch and rules of one engine; nothing of a user's that a result depends on stays in it between
// calls.
class Fold {
 public:
  // `rules` outlives the fold.
  explicit Fold(const RuleSet::Compiled& rules);

  // Gathers what an event means to each segment: begin, the profile's writes, a hit for each atom
  // met, then step.
  void begin_step();
  enum class Among : uint8_t { kAll, kOrderFree, kOrdered };
  // `at` is the event's own time: where it lies before order.time the event counts for measures
  // alone.
  void hit(const Atom& atom, uint64_t value, EventOrder order, Time at, Among among = Among::kAll);
  // The next writes, as long as they take effect up to `order` (included), enter the profile.
  void apply_writes(const std::vector<ProfileWrite>& writes, EventOrder order, FoldState& state);
  // Whether step() would do anything.
  bool touched(const FoldState& state) const { return !touched_.empty() || !state.exists; }
  // Takes the event to all segments touched.
  void step(const FoldEvent& event, FoldState& state, Changes& out);

  // All deadlines up to `moment` that have not fired, as one step at `moment`.
  void fire(Time moment, FoldState& state, Changes& out);

  // Notes anew when each segment of a state falls due, which steps then keep. Needed before a step
  // on a state that something else has made or changed.
  void note_deadlines(FoldState& state) const;
  // The earliest deadline noted.
  static Time next_deadline(const FoldState& state);
  // The same after a step, from what it was before.
  Time next_deadline(const FoldState& state, Time before) const;

  // Restricts all that follows to the segments whose present a late event can change, and those
  // that they refer to: `hits` are its atoms, `profile` its commands. unrestrict() ends it.
  void restrict(const std::vector<const Atom*>& atoms, absl::Span<const ProfileCommand> profile);
  // To these segments and those that they refer to.
  void restrict(absl::Span<const Slot> slots);
  void unrestrict() { restricted_ = false; }
  bool concerns(Slot slot) const { return !restricted_ || concerned_[slot]; }
  // Whether any segment concerned reads the profile.
  bool reads_profile() const { return reads_profile_; }

  // What is to be folded, besides deadlines.
  struct Input {
    absl::Span<const Fact> facts;
    const std::vector<ProfileWrite>* writes;
    // The user's first event.
    EventOrder exists_from;
    Settled settled;
  };
  // Folds facts and writes onto `state` but for order-free segments, with the deadlines between
  // them, up to and including `until`; those behind it are left. `decided` becomes the newest
  // deadline that fired, if any. The changes that the event at `mark` made in its own step are
  // noted in `marked`: none, at the end, when it made no step.
  struct Marked {
    size_t begin = 0;
    size_t end = 0;
  };
  void run(const Input& input, Time until, EventOrder mark, FoldState& state, Time& decided,
           Changes& out, Marked& marked);

  // Takes in what the property says of the dates to come, those after `after`.
  void read_date(const Rule& rule, Time after, const FoldState& state, SegmentState& segment);

  // Begins to evaluate a segment for a user whose history has been added to its state. What changes
  // is told with `reason`, as of `at`.
  void build(Slot slot, Time at, Reason reason, FoldState& state, Changes& out);

  // A segment was put into the state or taken out of it: past behaviour that refers to it is
  // evaluated at `at`.
  void reach_outers(Slot slot, Time at, FoldState& state, Changes& out);

  // Takes in what lay ahead in the segment's history, up to and including `until`. A step does so
  // for the segments that it touches: this is for others, when all that is due up to there has
  // fired.
  static void take_in(const Rule& rule, Time until, SegmentState& segment);
  // In all segments that run; returns how many events that were.
  int64_t take_in(Time until, FoldState& state) const;

  // Whether one node of a rule's expression, with all below it, holds. `until` becomes the earliest
  // moment after `at` at which that may turn without an event.
  bool holds(const Rule& rule, uint32_t node, const FoldState& state, Time at, Time* until);

  // Segments gone through in steps; what a step costs.
  int64_t segments_decided = 0;
  int64_t pendings_dropped = 0;
  // Of records from `counted_from` on: what is folded again was counted before.
  int64_t writes_refused = 0;
  Offset counted_from;

 private:
  // What happened to a segment in a step, besides Roles.
  static constexpr Roles kDue = 32;
  static constexpr Roles kInner = 64;
  static constexpr Roles kTouched = 128;

  struct Touch {
    Slot slot = 0;
    Roles roles = 0;
    uint8_t trigger = kNoTrigger;
    // Of a sequence: its steps met, by bit.
    uint16_t events = 0;
    uint16_t absences = 0;
    uint64_t value = 0;
  };
  // Of a slot.
  struct Places {
    // In touched_, plus one; 0 for untouched.
    uint32_t touched = 0;
    // Where a state was last found, of whatever user: a guess, checked at each use, and mostly
    // right while one user's past is folded.
    uint32_t state = 0;
  };
  struct Counted {
    Slot slot;
    uint16_t measure;
    Time at;
    uint64_t value;
  };
  // A step: of an event, of a moment of deadlines (no event), or of a segment that has come or
  // gone.
  struct Moment {
    Time at;
    const FoldEvent* event = nullptr;
    // That segment; of one built, `reason` instead of what it would have.
    Slot built = kNoSlot;
    Reason reason = segments::v1::REASON_UNSPECIFIED;
  };
  struct Scope {
    const Rule& rule;
    const SegmentState* segment;
    const FoldState& state;
    Time at;
  };

  // Adds it to `slots` unless it is concerned already.
  void concern(Slot slot, std::vector<Slot>& slots);
  // The slots, all concerned, and those that they refer to.
  void restrict_to(std::vector<Slot> slots);
  Touch& touch(Slot slot);
  // Null when there is none.
  SegmentState* find(FoldState& state, Slot slot);
  void decide(const Moment& moment, FoldState& state, Changes& out);
  // `segment`: null when there is none.
  void evaluate(const Rule& rule, const Touch& touch, const Moment& moment, SegmentState* segment,
                FoldState& state, Changes& out);
  void step_rule(const Rule& rule, const Touch& touch, const FoldEvent& event,
                 SegmentState* segment, FoldState& state, Changes& out);
  void fire_rule(const Rule& rule, Time moment, SegmentState& segment, FoldState& state,
                 Changes& out);
  bool count_page(const Rule& rule, const Touch& touch, Time at, SegmentState& segment);
  void step_inaction(const Rule& rule, const Touch& touch, const FoldEvent& event,
                     SegmentState& segment, Changes& out);
  bool step_sequence(const Rule& rule, const Touch& touch, Time at, SegmentState& segment);
  void wait(Occurrences& instances, const Occurrence& instance);
  bool step_date(const Rule& rule, EventOrder order, const FoldState& state, SegmentState& segment,
                 Changes& out);
  Time next_date(const Rule& rule, const FoldState& state, Time after);
  void qualify(const Rule& rule, Time at, Reason reason, std::string_view cause, Time cause_at,
               std::string_view message_id, SegmentState& segment, Changes& out);
  void leave(const Rule& rule, const FoldEvent& event, SegmentState& segment, Changes& out);
  bool filter_holds(const Rule& rule, const FoldState& state, const SegmentState& segment, Time at);
  bool holds(const Scope& scope, uint32_t node, Time* until);

  const RuleSet::Compiled* rules_;
  std::vector<Touch> touched_;
  // By slot.
  std::vector<Places> places_;
  std::vector<Counted> counted_;
  // The present step changes the profile.
  bool wrote_ = false;
  bool restricted_ = false;
  // Of the state that run() folds onto.
  Settled settled_;
  bool reads_profile_ = false;
  // By slot.
  std::vector<uint8_t> concerned_;
  // The earliest deadlines of the segments touched, before the step and after it.
  Time due_before_ = Time::Max();
  Time due_after_ = Time::Max();
  Turns turns_;
  std::vector<Value> items_;
};

}  // namespace segmentd
