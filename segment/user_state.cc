#include "segment/user_state.h"

#include <algorithm>

namespace segmentd {
namespace {

// The finalizer of MurmurHash3: a bijection, the same in every build. The hash is recorded, so
// never change it.
constexpr uint64_t Mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  x ^= x >> 33;
  return x;
}

bool IsBefore(const SegmentState& state, Slot slot) {
  return state.slot < slot;
}

}  // namespace

const SegmentState* FindSegment(const FoldState& state, Slot slot) {
  const auto at = std::lower_bound(state.segments.begin(), state.segments.end(), slot, IsBefore);
  return at != state.segments.end() && at->slot == slot ? &*at : nullptr;
}

SegmentState& FindOrAddSegment(FoldState& state, Slot slot, bool* added) {
  auto at = std::lower_bound(state.segments.begin(), state.segments.end(), slot, IsBefore);
  const bool missing = at == state.segments.end() || at->slot != slot;
  if (missing) {
    at = state.segments.emplace(at);
    at->slot = slot;
  }
  if (added != nullptr) *added = missing;
  return *at;
}

bool IsMember(const UserState& user, Slot slot) {
  const SegmentState* state = FindSegment(user.present, slot);
  return state != nullptr && state->member;
}

uint64_t StateHash(const UserState& user) {
  uint64_t hash = Mix(static_cast<uint64_t>(user.next_deadline.millis()));
  for (const SegmentState& segment : user.present.segments) {
    if (segment.member) hash = Mix(hash + 0x9e3779b97f4a7c15ULL + segment.slot);
  }
  return hash;
}

}  // namespace segmentd
