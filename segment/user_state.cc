#include "segment/user_state.h"

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

}  // namespace

bool IsMember(const UserState& user, Slot slot) {
  const SegmentState* state = user.present.segments.find(slot);
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
