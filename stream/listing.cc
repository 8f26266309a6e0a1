#include "stream/listing.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "stream/change_codec.h"

namespace segmentd {
namespace {

// Of a segment that was a shadow, the members are told of one after the other.
bool IsToldMember(const Task& task, const ActiveSegment& segment, const StoredUser& user) {
  const SegmentState* state = user.state.present.segments.find(segment.slot);
  if (state == nullptr || !state->member) return false;
  const bool built = state->built && state->version == segment.segment.version();
  return segment.segment.shadow() || task.definitions().told(segment.slot, built);
}

}  // namespace

Listing::Listing(const Task& task, std::string segment_id)
    : segment_id_(std::move(segment_id)),
      life_(task.life()),
      next_change_(task.next_change()),
      users_(static_cast<UserIndex>(task.users().size())),
      noted_(users_),
      was_member_(users_) {}

void Listing::note(const Task& task, const Write& change) {
  // Most are of other segments. IDs of segments are plain in either format.
  if (task.life() != life_ || change.value.find(segment_id_) == std::string_view::npos) return;
  const auto decoded = DecodeChange(change.value);
  if (!decoded.ok() || decoded->segment_id() != segment_id_) return;
  const StoredUser* user = task.users().find(change.key);
  if (user == nullptr || user->index() < at_ || user->index() >= users_) return;
  if (noted_[user->index()]) return;
  noted_[user->index()] = true;
  was_member_[user->index()] = decoded->action() != segments::v1::ADD;
}

absl::StatusOr<bool> Listing::go_on(const Task& task, UserIndex count,
                                    std::vector<std::string>* members) {
  if (task.life() != life_) {
    return absl::AbortedError(
        fmt::format("partition {} was restored during the listing; list again", task.partition()));
  }
  // Null where it does not run, or not any more: whoever was a member then is noted.
  const ActiveSegment* segment = task.engine().rules().find(segment_id_);
  const UserIndex until = at_ + std::min(users_ - at_, count);
  for (; at_ < until; ++at_) {
    const StoredUser& user = task.users()[at_];
    const bool member =
        noted_[at_] ? was_member_[at_] : segment != nullptr && IsToldMember(task, *segment, user);
    if (member) members->emplace_back(user.id());
  }
  return at_ == users_;
}

}  // namespace segmentd
