#include "stream/estimate.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "fmt/format.h"

#include "stream/applied_definitions.h"

namespace segmentd {
namespace {

// A portion takes some milliseconds.
constexpr UserIndex kUsers = 2'000;

// FAILED_PRECONDITION while a segment that `segment` refers to, at any depth, is not run yet or is
// being built: its members are not known.
absl::Status CheckInner(const Task& task, const segments::v1::Segment& segment) {
  const auto wait = [](const std::string& id) {
    return fmt::format("wait until it is active (segctl segment watch {}), and estimate again", id);
  };
  std::vector<std::string> ids = ReferencedSegments(segment);
  const size_t direct = ids.size();
  absl::flat_hash_set<std::string> seen(ids.begin(), ids.end());
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string id = ids[i];
    const ActiveSegment* inner = task.rules()->find(id);
    if (!inner) {
      // Where a stored segment refers to one that vanished, nobody is in that.
      if (i >= direct) continue;
      return absl::FailedPreconditionError(fmt::format(
          "partition {} does not run segment {} yet; {}", task.partition(), id, wait(id)));
    }
    // Of a paused one the members are what they are.
    if (inner->paused) continue;
    if (!inner->built) {
      return absl::FailedPreconditionError(fmt::format(
          "segment {} is being built, and who is in it is not known yet; {}", id, wait(id)));
    }
    for (std::string& next : ReferencedSegments(inner->segment)) {
      if (seen.insert(next).second) ids.push_back(std::move(next));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<Estimate>> Estimate::Begin(Worker& worker, const Task& task,
                                                          const segments::v1::Segment& segment) {
  if (absl::Status inner = CheckInner(task, segment); !inner.ok()) return inner;
  std::shared_ptr<Estimate> estimate(new Estimate());
  estimate->segment_ = segment;
  estimate->looked_at_ = task.rules();
  estimate->slot_ = task.definitions().slots();
  std::vector<ActiveSegment> segments;
  for (const std::string& id : ReferencedSegments(segment)) {
    // CheckInner() has found it.
    const ActiveSegment* inner = task.rules()->find(id);
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

absl::Status Estimate::check_inner(const Task& task) const {
  for (const auto& [slot, id] : inner_) {
    const ActiveSegment* inner = task.rules()->find(id);
    if (inner && inner->slot == slot) continue;
    return absl::AbortedError(
        fmt::format("segment {} was deleted while the estimate ran; estimate again", id));
  }
  return CheckInner(task, segment_);
}

absl::StatusOr<bool> Estimate::go_on(const Task& task) {
  if (life_ != task.life()) {
    // Its users have another order now.
    life_ = task.life();
    at_ = 0;
    members_ = 0;
  }
  if (looked_at_ != task.rules()) {
    if (absl::Status inner = check_inner(task); !inner.ok()) return inner;
    looked_at_ = task.rules();
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
