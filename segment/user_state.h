// All that is kept of one user: a base, folded up to where no late event can reach, the facts since
// then, and the present.
//
// Invariant: `present` is what folding `facts` and `writes`, with the deadlines between them, onto
// `base` gives at moment `now`. A late event is a fact inserted and the fold done again. Whatever
// is here is a function of the user's own records and of the clock.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/inlined_vector.h"

#include "segment/change.h"
#include "segment/event.h"
#include "segment/measure.h"
#include "segment/profile.h"
#include "segment/time.h"

namespace segmentd {

// That an event met a condition.
struct Fact {
  EventOrder order;
  // Fingerprint of the condition (RuleSet's atom), the same in every build of the rules that has
  // it.
  uint64_t atom = 0;
  // What the condition's segments need of the event: a fingerprint of a property's value, or the
  // bits of a number; 0 when it is missing or nothing is needed.
  uint64_t value = 0;
  // The event's own time. It lies before order.time for an event that came too late, which counts
  // for measures alone.
  Time at;
  bool operator==(const Fact&) const = default;
};

// Something counted or waited for: a pending inaction (value: of its `match` property), a page
// counted (value: of its URL), the next date (due), an instance of a sequence (value: the step it
// waits for; at: when it came to it).
struct Occurrence {
  uint64_t value = 0;
  // Its event's time.
  Time at;
  // Deadline, Time::Max() for none.
  Time due = Time::Max();
  bool operator==(const Occurrence&) const = default;
};

// Where a user stands with one segment. Absent means: all as in a new one.
struct SegmentState {
  Slot slot = 0;
  // Of the definition that this belongs to.
  int32_t version = 0;
  bool member = false;
  // The history of a segment that counts the past is in `measures`, and it is evaluated. While a
  // rule is not built for everybody, only for these users.
  bool built = true;
  // Index of the trigger behind the membership.
  uint8_t trigger = 0;
  // Pages in the session.
  uint32_t count = 0;
  // Joined at; of a former member, left at; Time::Min() of somebody who was never in.
  Time since = Time::Min();
  // The event behind the membership: the last one that qualified.
  Time cause_at = Time::Min();
  // Leaves at; Time::Max() for never. Of past behaviour: may change at.
  Time exit_at = Time::Max();
  // Last page event.
  Time session_at = Time::Min();
  // The `match` value joined by. Of a date: fingerprint of the value that was read.
  uint64_t joined_value = 0;
  // Oldest first; bounded by kMaxPendings, or by the count a page_count needs.
  absl::InlinedVector<Occurrence, 1> occurrences;
  // Empty, or one for each measure of the rule.
  std::vector<MeasureState> measures;
  bool operator==(const SegmentState&) const = default;
};

// The result of a fold.
struct FoldState {
  Profile profile;
  // Sorted by slot.
  std::vector<SegmentState> segments;
  // The first so many of UserState::writes are in `profile`, and of UserState::facts in the rest.
  // The others came too late and lie ahead.
  uint32_t writes_applied = 0;
  uint32_t facts_applied = 0;
  // The user's first event is in it.
  bool exists = false;
  bool operator==(const FoldState&) const = default;
};

// A message ID seen, for the recognition of duplicates.
struct SeenMessage {
  // Never 0.
  uint64_t id = 0;
  Time record_time;
  bool operator==(const SeenMessage&) const = default;
};

struct UserState {
  FoldState present;
  // Null: as of before everything.
  std::unique_ptr<FoldState> base;
  // The facts, writes and deadlines up to here are in the base: an event older than this can't be
  // inserted any more.
  Time base_time = Time::Min();
  // Sorted by order; those of one event stand together.
  std::vector<Fact> facts;
  // Sorted by (effective, offset).
  std::vector<ProfileWrite> writes;
  // In the order of offsets.
  std::vector<SeenMessage> seen;

  // The earliest event time; Time::Max() while no record was understood: such a user does not
  // exist. And the first offset with that time.
  Time exists_since = Time::Max();
  Offset exists_offset;
  Time newest_event = Time::Min();
  // Deadlines up to here have fired.
  Time now = Time::Min();
  // The newest deadline that has fired.
  Time decided = Time::Min();
  // The earliest deadline still to fire, or moment from which something that came too late counts;
  // Time::Max() for none. A deadline may turn out to have no effect.
  Time next_deadline = Time::Max();

  // Which rules of its engine this state was last taken over to; not stored.
  uint32_t rules_generation = 0;
};

// Asks the processor for what apply() will touch first. A user's next event finds its state out of
// the cache, so whoever has a batch of events calls this for each of their users some events ahead.
inline void Prefetch(const UserState& user) {
  // A look-up by slot goes all over them.
  constexpr size_t kLine = 64;
  constexpr size_t kMost = 2048;
  const char* segments = reinterpret_cast<const char*>(user.present.segments.data());
  const size_t bytes = user.present.segments.size() * sizeof(SegmentState);
  for (size_t at = 0; at < bytes && at < kMost; at += kLine) __builtin_prefetch(segments + at);
  __builtin_prefetch(user.seen.data());
  __builtin_prefetch(user.facts.data() + user.facts.size());
}

// Whether the user is in the segment, by the present.
const SegmentState* FindSegment(const FoldState& state, Slot slot);
// Where there is none, a new one that has nothing but its slot; `added` (may be null) says so.
SegmentState& FindOrAddSegment(FoldState& state, Slot slot, bool* added = nullptr);
bool IsMember(const UserState& user, Slot slot);

// A hash of the memberships and the next deadline; its sum over all users tells a wrong recovery.
uint64_t StateHash(const UserState& user);

}  // namespace segmentd
