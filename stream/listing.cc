#include "stream/listing.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "stream/change_codec.h"

namespace segmentd {
namespace {

// Until all members of a segment that is being deleted are told of their end, they are members.
const ActiveSegment* FindAlsoDeleting(const RuleSet& rules, std::string_view id) {
  const std::vector<ActiveSegment>& all = rules.segments();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const ActiveSegment& one) { return one.segment.id() == id; });
  return found == all.end() ? nullptr : &*found;
}

bool IsShadow(const Task& task, std::string_view id) {
  const ActiveSegment* segment = FindAlsoDeleting(task.engine().rules(), id);
  return segment != nullptr && segment->segment.shadow();
}

}  // namespace

Listing::Listing(const Task& task, std::string segment_id)
    : segment_id_(std::move(segment_id)),
      life_(task.life()),
      next_change_(task.next_change()),
      shadow_(IsShadow(task, segment_id_)),
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
  const ActiveSegment* segment = FindAlsoDeleting(task.engine().rules(), segment_id_);
  const UserIndex until = at_ + std::min(users_ - at_, count);
  for (; at_ < until; ++at_) {
    const StoredUser& user = task.users()[at_];
    bool member = was_member_[at_];
    if (!noted_[at_]) {
      const SegmentState* state =
          segment == nullptr ? nullptr : user.state.present.segments.find(segment->slot);
      member = state != nullptr && state->member &&
               (shadow_ || task.definitions().told(segment->slot, state));
    }
    if (member) members->emplace_back(user.id());
  }
  return at_ == users_;
}

}  // namespace segmentd
