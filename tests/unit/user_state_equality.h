// Comparison of users' states, for tests.
#pragma once

#include <memory>

#include "segment/user_state.h"

namespace segmentd {

inline bool SameWrite(const ProfileWrite& a, const ProfileWrite& b) {
  return a.order == b.order && a.effective == b.effective && a.operation == b.operation &&
         a.property == b.property && a.value == b.value;
}

inline bool SameBase(const std::unique_ptr<Base>& a, const std::unique_ptr<Base>& b) {
  return a == nullptr || b == nullptr ? a == b : *a == *b;
}

// The first part in which they differ; null when they are the same. `rules_generation` is no part
// of the state.
inline const char* Difference(const UserState& a, const UserState& b) {
  if (!(a.present.profile == b.present.profile)) return "present.profile";
  if (a.present.segments != b.present.segments) return "present.segments";
  if (a.present.writes_applied != b.present.writes_applied) return "present.writes_applied";
  if (a.present.facts_applied != b.present.facts_applied) return "present.facts_applied";
  if (a.present.exists != b.present.exists) return "present.exists";
  if (!SameBase(a.base, b.base)) return "base";
  if (a.facts != b.facts) return "facts";
  if (a.writes.size() != b.writes.size()) return "writes";
  for (size_t i = 0; i < a.writes.size(); ++i) {
    if (!SameWrite(a.writes[i], b.writes[i])) return "writes";
  }
  if (a.seen != b.seen) return "seen";
  if (a.exists_since != b.exists_since) return "exists_since";
  if (a.exists_offset != b.exists_offset) return "exists_offset";
  if (a.newest_event != b.newest_event) return "newest_event";
  if (a.now != b.now) return "now";
  if (a.decided != b.decided) return "decided";
  if (a.next_deadline != b.next_deadline) return "next_deadline";
  return nullptr;
}

}  // namespace segmentd
