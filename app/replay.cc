#include "app/replay.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "segment/absl_view.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

Settings ReplaySettings() {
  Settings settings;
  settings.deadline_grace = Duration();
  return settings;
}

}  // namespace

absl::StatusOr<Replay> Replay::Create(std::vector<pb::Segment> segments, Sink sink) {
  absl::flat_hash_set<std::string> ids;
  for (const pb::Segment& segment : segments) ids.insert(segment.id());
  std::vector<ActiveSegment> active;
  active.reserve(segments.size());
  for (size_t i = 0; i < segments.size(); ++i) {
    ActiveSegment& added = active.emplace_back();
    added.slot = static_cast<Slot>(i);
    added.segment = std::move(segments[i]);
    for (size_t id = i + 1; added.segment.id().empty(); ++id) {
      std::string free = absl::StrCat(id);
      if (ids.insert(free).second) added.segment.set_id(std::move(free));
    }
    added.segment.set_version(1);
  }
  absl::StatusOr<std::shared_ptr<const RuleSet>> rules = RuleSet::Compile(std::move(active));
  if (!rules.ok()) return rules.status();
  return Replay(*std::move(rules), ReplaySettings(), std::move(sink));
}

Replay::Replay(std::shared_ptr<const RuleSet> rules, const Settings& settings, Sink sink)
    : rules_(std::move(rules)),
      decoder_(settings),
      engine_(rules_, settings),
      encoder_(ChangeFormat::kJson, "replay", 0),
      sink_(std::move(sink)),
      users_(std::make_unique<UserStore>()) {
  segments_.resize(rules_->segments().size());
  for (const ActiveSegment& active : rules_->segments()) {
    segments_[active.slot].id = active.segment.id();
    segments_[active.slot].name = active.segment.name();
  }
}

void Replay::apply(std::string_view line, int64_t line_number) {
  line = StdView(absl::StripAsciiWhitespace(AbslView(line)));
  if (line.empty()) return;
  Event event;
  std::string_view user_id;
  const Offset offset(next_offset_++);
  const DecodeResult decoded =
      decoder_.decode_line(line, offset, rules_->fields(), &event, &user_id);
  if (!decoded.ok()) return refuse(line_number, decoded.error, decoded.detail);
  ++counts_.events;
  advance(event.record_time);
  StoredUser& user = users_->find_or_create(user_id);
  switch (engine_.apply(event, clock_, user.state, changes_)) {
    case Outcome::kApplied:
      break;
    case Outcome::kLate:
      ++counts_.late;
      break;
    case Outcome::kTooLate:
      ++counts_.too_late;
      break;
    case Outcome::kDuplicate:
      ++counts_.duplicates;
      break;
  }
  emit(user);
  deadlines_.arm(user.index(), user.state.next_deadline);
}

void Replay::refuse(int64_t line_number, DecodeError error, std::string_view detail) {
  ++counts_.dead_letters;
  if (dead_letters_.size() < kDeadLettersKept) {
    dead_letters_.push_back({line_number, error, std::string(detail)});
  }
}

void Replay::advance(Time clock) {
  if (clock <= clock_) return;
  clock_ = clock;
  // Moment by moment: what fires may have a further deadline before the clock.
  for (Time next = deadlines_.next(); next <= clock; next = deadlines_.next()) {
    due_.clear();
    deadlines_.take(next, SIZE_MAX, &due_);
    // Those of one moment come in the order in which the users were first seen, so that a replay
    // always gives the same.
    std::sort(due_.begin(), due_.end(), [](const auto& a, const auto& b) {
      return a.deadline != b.deadline ? a.deadline < b.deadline : a.user < b.user;
    });
    for (const TimingWheel::Due& due : due_) {
      StoredUser& user = (*users_)[due.user];
      // It may have moved to later since.
      if (user.state.next_deadline <= due.deadline) {
        ++counts_.deadlines;
        engine_.advance(due.deadline, user.state, changes_);
        emit(user);
      }
      deadlines_.arm(due.user, user.state.next_deadline);
    }
  }
}

void Replay::emit(const StoredUser& user) {
  for (const Change& change : changes_) {
    const pb::Segment& segment = rules_->segment(change.slot)->segment;
    SegmentCount& count = segments_[change.slot];
    if (change.action == pb::ADD) {
      ++count.members;
      ++count.added;
    } else if (change.action == pb::REMOVE) {
      --count.members;
      ++count.removed;
    }
    if (segment.shadow()) continue;
    ++counts_.changes[static_cast<size_t>(change.action)];
    record_.clear();
    encoder_.append(change, segment, user.id(), next_change_++, &record_);
    sink_(record_);
  }
  changes_.clear();
}

}  // namespace segmentd
