#include "stream/estimate.h"

#include <algorithm>

#include "fmt/format.h"

#include "stream/applied_definitions.h"

namespace segmentd {
namespace {

// A portion takes some milliseconds.
constexpr UserIndex kUsers = 2'000;

}  // namespace

absl::StatusOr<std::shared_ptr<Estimate>> Estimate::Begin(Worker& worker, const Task& task,
                                                          const segments::v1::Segment& segment) {
  std::shared_ptr<Estimate> estimate(new Estimate());
  estimate->slot_ = task.definitions().slots();
  std::vector<ActiveSegment> segments;
  for (const std::string& id : ReferencedSegments(segment)) {
    const ActiveSegment* inner = task.engine().rules().find(id);
    if (!inner) continue;
    estimate->inner_.emplace_back(inner->slot, id);
    // Its memberships count as they are.
    segments.push_back({.slot = inner->slot, .segment = inner->segment, .paused = true});
  }
  std::sort(estimate->inner_.begin(), estimate->inner_.end());
  ActiveSegment& candidate = segments.emplace_back();
  candidate.slot = estimate->slot_;
  candidate.segment = segment;
  if (candidate.segment.id().empty()) candidate.segment.set_id("estimate");
  candidate.segment.set_version(1);
  candidate.built = false;
  absl::StatusOr<std::shared_ptr<const RuleSet>> rules = RuleSet::Compile(std::move(segments));
  if (!rules.ok()) return rules.status();
  estimate->engine_.emplace(*rules, task.engine().settings());
  if (ReadsPast(segment)) {
    estimate->reading_ = worker.read_history({.partition = task.partition(),
                                              .until = task.position(),
                                              .rules = *std::move(rules),
                                              .settings = task.engine().settings(),
                                              .key = {}});
  }
  return estimate;
}

absl::StatusOr<bool> Estimate::go_on(const Task& task) {
  if (life_ != task.life()) {
    // Its users have another order now.
    life_ = task.life();
    at_ = 0;
    members_ = 0;
  }
  for (const auto& [slot, id] : inner_) {
    const ActiveSegment* inner = task.engine().rules().find(id);
    if (inner && inner->slot == slot) continue;
    return absl::AbortedError(
        fmt::format("segment {} was deleted while the estimate ran; estimate again", id));
  }
  const auto size = static_cast<UserIndex>(task.users().size());
  const UserIndex until = std::min(size, at_ + kUsers);
  const History* history = reading_ ? reading_->history().get() : nullptr;
  for (; at_ < until; ++at_) {
    const StoredUser& user = task.users()[at_];
    UserState copy;
    copy.present.profile = user.state.present.profile;
    copy.present.exists = user.state.present.exists;
    for (const auto& [slot, id] : inner_) {
      if (!IsMember(user.state, slot)) continue;
      copy.present.segments.find_or_add(slot).member = true;
    }
    copy.exists_since = user.state.exists_since;
    copy.newest_event = user.state.newest_event;
    const bool any = history && history->take(user.id(), slot_, {}, &past_);
    changes_.clear();
    engine_->build(slot_, task.fired(), any ? &past_ : nullptr, segments::v1::BACKFILLED, copy,
                   changes_);
    if (IsMember(copy, slot_)) ++members_;
  }
  users_ = size;
  return at_ >= size;
}

}  // namespace segmentd
