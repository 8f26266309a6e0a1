// What the engine is made of, behind engine.h and for its own sources alone: engine.cc takes in
// events and time, engine_base.cc moves the base, engine_take_over.cc carries a user over to other
// rules, and engine_build.cc adds a history.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"

#include "segment/compiled_rules.h"
#include "segment/engine.h"
#include "segment/fold.h"
#include "segment/matcher.h"

namespace segmentd {

struct Engine::Core {
  Core(std::shared_ptr<const RuleSet> rules, Settings settings);

  // engine.cc

  void use(std::shared_ptr<const RuleSet> next);
  // What the event's context says of common properties comes before its own commands.
  const Event& with_common(const Event& record);
  bool seen_before(const Event& event, UserState& user);
  void remember(const Event& event, UserState& user);
  // Deadlines and what came too late, one moment after the other, up to and including `until`.
  void fire(Time until, UserState& user, Changes& out);
  // A user whose first record came too late exists from its time on, though it counts later.
  void begin(const Event& event, UserState& user, Changes& out);
  // Whether a measure counts the event.
  bool measured() const;
  void insert_facts(const Event& event, EventOrder order, UserState& user);
  void insert_writes(const Event& event, Time effective, UserState& user);
  void fold_in_order(const Event& event, EventOrder order, UserState& user, Changes& out);
  // Why all since the base is folded again.
  enum class Again : uint8_t {
    // The event is late: what was told may be wrong.
    kLate,
    // The event is in order, but something that came too late counts from after it.
    kInOrder,
    // The event came too late, and counts from before what was decided.
    kTooLate,
  };
  // The event came after something that it precedes: its facts have taken their place, and all
  // since the base is folded again.
  void fold_again(const Event& event, EventOrder order, Again why, UserState& user, Changes& out);
  // Tells the difference between the present and `again`, which a late event has made of it. Of the
  // present only the memberships are left: the rest may have been moved to `again`.
  void correct(const Event& event, Fold::Marked own, const UserState& user, Changes& out);
  void look_ahead(UserState& user);
  // What came too late and lies ahead is among the user's deadlines.
  void look_at_late(UserState& user);
  Fold::Input input_of(const UserState& user, bool with_profile = true) const;

  // engine_base.cc

  void begin_base(UserState& user);
  // `again` becomes what folding again begins with: of the segments concerned what the base has.
  void begin_again(const UserState& user, bool with_profile);
  // In a state as of before everything, memberships that stand still are as they are, and whoever
  // had their turn before a rule was built for everybody goes on having had it.
  void keep_turns(const UserState& user, FoldState& state);
  // How many of the oldest are too many, by number or by bytes.
  size_t writes_over(const UserState& user) const;
  // Whether what came too late leaves what lies ahead of the present within the bounds: the base
  // can't take that in yet.
  bool fits_ahead(const Event& event, const UserState& user) const;
  // Of what is older than `before`, where that begins which may be left for a live rule to catch up
  // with: its dates lie behind the activation, its events may come late.
  Time waiting_from(Time before, const UserState& user) const;
  // Decided by the user's own records alone, so that every replay has the same base.
  void move_base(const Event& event, UserState& user);

  // engine_take_over.cc

  bool take_over(UserState& user) {
    if (user.rules_generation == generation) return false;
    user.rules_generation = generation;
    return carry_over(user);
  }
  // To the present rules; whether anything changed.
  bool carry_over(UserState& user);
  // Of a segment that is paused or being deleted. Whether it changed.
  bool stand_still(const Rule& rule, SegmentState& segment, UserState& user);
  // Of another version.
  void take_version(const Rule& rule, SegmentState& segment, UserState& user);
  // Of what says nothing any more. Whether there was something.
  bool forget(UserState& user);
  // The rule's membership in the base has been replaced: the past behaviour that refers to it is
  // evaluated there anew.
  void evaluate_outers_in_base(const Rule& rule, UserState& user);
  // Whoever was in for good before others referred to that segment is in it from the base on: the
  // events that led there were not kept. Whether somebody is new there.
  bool keep_for_others(UserState& user);
  // For the latest change of which those that follow others must know. Whether that is new.
  bool settle_for_change(UserState& user);
  // See Settled; up to the user's now, of which the clock is part. What is older is late from here
  // on.
  void settle(const ActivationPoint& before, UserState& user);
  // All that is known of the user.
  void settle(UserState& user);
  // Of a rule that waits, of which follows_past is true: as of when it follows. Whether that is
  // new.
  bool note_now(const Rule& rule, UserState& user);

  // engine_build.cc

  // What the history says of common properties.
  void add_common(const Past& past, UserState& user, FoldState& state);
  // The history, to `state` as of `at`; `past`: null for none.
  void add_past(const Rule& rule, const Past* past, Time at, Reason reason, UserState& user,
                FoldState& state, Changes& out);
  void build_in_base(const Rule& rule, const Past* past, Reason reason, UserState& user);
  // Messages of the history, which come before those of the stream.
  void remember(absl::Span<const SeenMessage> messages, UserState& user);
  // What was noted of a rule that waited; nothing for a user who came later.
  static Settled take_noted(const Rule& rule, UserState& user);
  // What has come since the activation of a live rule, which had to wait for the user's turn.
  void catch_up(const Rule& rule, const Settled& settled, UserState& user, Changes& out);
  // In `again`, which stands where the base does, at `from`, the past behaviour that the rule
  // follows becomes what it was at the moment that the user is settled for (nothing: goes on from
  // there): of past behaviour all is counted, so that can be told.
  void settle_again(const Rule& rule, Time from, const Fold::Input& input);

  std::shared_ptr<const RuleSet> rules;
  Settings settings;
  Matcher matcher;
  Fold fold;
  uint32_t generation = 1;
  EngineCounters counters;
  int64_t dropped_before = 0;
  int64_t refused_before = 0;
  int64_t decided_before = 0;
  // Scratch.
  uint64_t message = 0;
  FoldState again;
  Changes transitions;
  std::vector<const Atom*> atoms;
  std::vector<Fact> added;
  std::vector<ProfileCommand> commands;
  Event enriched;
};

}  // namespace segmentd
