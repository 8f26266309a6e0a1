// The whole core behind one header: what a segment means.
//
// An event enters by apply(), the passing of time by advance(), and there is no third way. Both
// work on one user's state, which the caller keeps, and append the changes of that user's
// memberships. Nothing here reads a clock, does I/O or starts a thread; an engine belongs to one
// task and one thread at a time. Membership is the function F of the specification: which changes
// come out depends on the user's records and the clock given, never on how records were batched.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/types/span.h"

#include "proto/segments/v1/membership_service.pb.h"
#include "segment/change.h"
#include "segment/event.h"
#include "segment/past.h"
#include "segment/rule_set.h"
#include "segment/settings.h"
#include "segment/user_state.h"

namespace segmentd {

// What became of an event; for the counters.
enum class Outcome : uint8_t {
  kApplied,
  // Older than what was already decided: evaluated again from before it.
  kLate,
  // Too old for triggers; conditions on the past and its profile commands count it from the later
  // of its record time and the user's newest event on.
  kTooLate,
  // Its message ID was seen within max_lateness: without effect.
  kDuplicate,
};

// Ever since the engine was made.
struct EngineCounters {
  // Cut off by a bound.
  int64_t pendings_dropped = 0;
  int64_t facts_dropped = 0;
  int64_t message_ids_dropped = 0;
  int64_t profile_writes_refused = 0;
  // What it all cost: segments gone through in steps.
  int64_t segments_decided = 0;
};

class Engine {
 public:
  Engine(std::shared_ptr<const RuleSet> rules, Settings settings);
  ~Engine();
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;

  // Applies the user's next record (offsets ascend). First the user's deadlines up to the later of
  // `clock` and record time minus grace fire, then the event takes its place. `clock`: up to where
  // the partition's deadlines have fired; it never goes back.
  Outcome apply(const Event& event, Time clock, UserState& user, Changes& out);

  // Fires the user's deadlines up to and including `clock`, each at its exact moment, those of one
  // moment as one step.
  void advance(Time clock, UserState& user, Changes& out);

  // Continues with other rules, between two steps.
  void use(std::shared_ptr<const RuleSet> rules);

  // Carries the user's states of a changed definition (same slot, another version) over to the
  // present one: members stay, and an `exit: after` counts from the user's now at the activation;
  // pendings and counts end. apply() and advance() do it first; after use() the caller does it for
  // all users, because the new rules may have deadlines that the old ones had not, or not have them
  // any more. True when something changed.
  bool take_over(UserState& user);

  // Begins to evaluate the segment in `slot`, whose rule is not built for everybody, for this user:
  // `past` is what the records before its history_offset say (null: nothing). Of past behaviour,
  // what the membership is from now on, and was not, is told with `reason`; of a live segment, what
  // has happened since its activation, as it did. False when the user had their turn before.
  bool build(Slot slot, Time clock, const Past* past, Reason reason, UserState& user, Changes& out);
  // After all that is built for the user in one turn, each segment after those that it refers to:
  // from here on those that filter by them stand as they are.
  void end_turn(absl::Span<const Slot> built, UserState& user);

  // Takes the segment in `slot`, which is being deleted, out of the user's state; a member gets a
  // REMOVE at their now, and past behaviour that refers to it is evaluated. False when the user had
  // no state of it.
  bool remove(Slot slot, Time clock, UserState& user, Changes& out);

  // Why the user is or is not in the segment, at the latest of `clock`, the user's newest event and
  // the moment up to which their deadlines have fired.
  // `segment_id` and `user_id` are left for the caller to fill in.
  segments::v1::Explanation explain(Slot slot, Time clock, const UserState& user) const;

  const RuleSet& rules() const;
  const Settings& settings() const;
  const EngineCounters& counters() const;

 private:
  struct Core;
  std::unique_ptr<Core> core_;
};

}  // namespace segmentd
