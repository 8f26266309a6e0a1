// Where a user stands with each segment.
//
// A user has tens of these, and the next event of a user finds them out of the cache. So each is
// one line of it, and what only some kinds of segments need stands apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"

#include "segment/boxed.h"
#include "segment/change.h"
#include "segment/measure.h"
#include "segment/time.h"

namespace segmentd {

// Something counted or waited for: a pending inaction (value: of its `match` property), a page
// counted (value: of its URL), the next date (due), an instance of a sequence (value: the step it
// waits for; at: when it came to it). Of a rule that is still to be built for the user: the
// activation as of which it follows others (value: its offset; at: the user's now then).
struct Occurrence {
  uint64_t value = 0;
  // Its event's time.
  Time at;
  // Deadline, Time::Max() for none.
  Time due = Time::Max();
  bool operator==(const Occurrence&) const = default;
};

using Occurrences = absl::InlinedVector<Occurrence, 1>;
using Measures = absl::InlinedVector<MeasureState, 1>;

// An event of the past that a measure is to take in, once `from` has come.
struct Addition {
  // From when it counts.
  Time from;
  Time at;
  double value = 0;
  // Its place among the measures.
  uint32_t measure = 0;
  bool operator==(const Addition&) const = default;
};

// What a segment remembers of a user's events.
struct Memory {
  // Empty, or one for each measure of the rule.
  Measures measures;
  // Oldest first; bounded by kMaxPendings, or by the count a page_count needs.
  Occurrences occurrences;
  // Last page event.
  Time session_at = Time::Min();
  // The `match` value joined by.
  uint64_t joined_value = 0;
  // Of a base, what its measures get from a history that reaches further than itself, oldest `from`
  // first: a late trigger finds what was before it.
  Boxed<std::vector<Addition>> ahead;
  // Of a date: fingerprint of the value that was read.
  uint64_t read_value = 0;
  bool operator==(const Memory&) const = default;
};

// Where a user stands with one segment. Absent means: all as in a new one.
struct SegmentState {
  Slot slot = 0;
  // Of the definition that this belongs to.
  int32_t version = 0;
  bool member = false;
  // The history of a segment that counts the past is in its measures, and it is evaluated. While a
  // rule is not built for everybody, only for these users.
  bool built = true;
  // Index of the trigger behind the membership.
  uint8_t trigger = 0;
  // Consumers know of the membership, though not of all in the segment: a pause came amid telling
  // of them, and the user has not had their turn since.
  bool told = false;
  // Pages in the session.
  uint32_t count = 0;
  // Joined at; of a former member, left at; Time::Min() of somebody who was never in.
  Time since = Time::Min();
  // The event behind the membership: the last one that qualified.
  Time cause_at = Time::Min();
  // Leaves at; Time::Max() for never. Of past behaviour: may change at.
  Time exit_at = Time::Max();
  // The earliest deadline, as whoever runs the rules last noted it. No part of the state: == does
  // not look at it, and it is not stored.
  Time due = Time::Max();
  Boxed<Memory> memory;
  bool operator==(const SegmentState& other) const;
};
static_assert(sizeof(SegmentState) <= 64, "a line of cache");

// Sorted by slot; a slot at most once. References and iterators are valid until a state comes or
// goes.
class SegmentStates {
 public:
  SegmentStates() = default;
  // Sorted.
  SegmentStates(std::initializer_list<SegmentState> states) : states_(states) {}
  explicit SegmentStates(std::vector<SegmentState> states) : states_(std::move(states)) {}

  size_t size() const { return states_.size(); }
  bool empty() const { return states_.empty(); }
  const SegmentState& operator[](size_t place) const { return states_[place]; }
  SegmentState& operator[](size_t place) { return states_[place]; }
  auto begin() const { return states_.begin(); }
  auto end() const { return states_.end(); }
  auto begin() { return states_.begin(); }
  auto end() { return states_.end(); }

  // Null when there is none.
  const SegmentState* find(Slot slot) const;
  SegmentState* find(Slot slot);
  // Where there is none, a new one that has nothing but its slot; `added` (may be null) says so.
  SegmentState& find_or_add(Slot slot, bool* added = nullptr);
  // Replaces what is there.
  void put(SegmentState state) { find_or_add(state.slot) = std::move(state); }
  // Whether there was one.
  bool erase(Slot slot);
  // Returns how many went.
  template <typename Predicate>
  size_t erase_if(Predicate predicate) {
    return std::erase_if(states_, predicate);
  }

  // Asks the processor for all of them, as far as that is worth it.
  [[gnu::always_inline]] void prefetch() const {
    constexpr size_t kMost = 32;
    const SegmentState* states = states_.data();
    for (size_t i = 0; i < states_.size() && i < kMost; ++i) __builtin_prefetch(&states[i], 1);
  }

  bool operator==(const SegmentStates&) const = default;

 private:
  std::vector<SegmentState> states_;
};

}  // namespace segmentd
