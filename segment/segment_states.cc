#include "segment/segment_states.h"

#include <algorithm>
#include <tuple>

namespace segmentd {
namespace {

bool IsBefore(const SegmentState& state, Slot slot) {
  return state.slot < slot;
}

}  // namespace

bool SegmentState::operator==(const SegmentState& other) const {
  const auto all = [](const SegmentState& s) {
    return std::tie(s.slot, s.version, s.member, s.built, s.trigger, s.told, s.count, s.since,
                    s.cause_at, s.exit_at, s.memory);
  };
  return all(*this) == all(other);
}

const SegmentState* SegmentStates::find(Slot slot) const {
  const auto at = std::lower_bound(states_.begin(), states_.end(), slot, IsBefore);
  return at != states_.end() && at->slot == slot ? &*at : nullptr;
}

SegmentState* SegmentStates::find(Slot slot) {
  return const_cast<SegmentState*>(std::as_const(*this).find(slot));
}

SegmentState& SegmentStates::find_or_add(Slot slot, bool* added) {
  auto at = std::lower_bound(states_.begin(), states_.end(), slot, IsBefore);
  const bool missing = at == states_.end() || at->slot != slot;
  if (missing) {
    at = states_.emplace(at);
    at->slot = slot;
  }
  if (added != nullptr) *added = missing;
  return *at;
}

bool SegmentStates::erase(Slot slot) {
  const SegmentState* state = find(slot);
  if (state == nullptr) return false;
  states_.erase(states_.begin() + (state - states_.data()));
  return true;
}

}  // namespace segmentd
