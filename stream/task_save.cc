// What a task puts into the changelog at the end of a step: the images of some users, and the task
// record.
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "state/changelog_codec.h"
#include "state/image_parts.h"
#include "state/user_codec.h"
#include "stream/recorded_settings.h"
#include "stream/task.h"

namespace segmentd {
namespace {

// Marks of positions are this far apart, so that there are few of them.
constexpr absl::Duration kMarkInterval = absl::Milliseconds(100);

// How many users ahead, in the order of saving, each is asked for from memory.
constexpr size_t kSavedAhead = 4;

}  // namespace

void Task::save(Step& step, absl::Duration now, bool everything) {
  if (!running()) return;
  for (const TimingWheel::Due& due : ahead_) {
    StoredUser& user = (*users_)[due.user];
    if (user.dirty()) save_user(user, step);
  }
  ahead_.clear();

  while (!marks_.empty() && marks_.front().at + options_.max_replay_time <= now) {
    old_ = marks_.front().position;
    marks_.pop_front();
  }
  if (marks_.empty() || marks_.back().at + kMarkInterval <= now) {
    marks_.push_back({position_, now});
  }

  if (!scanned_slots_.empty() && !halted()) scan(step);
  if (!turns_.empty() && !halted()) take_turns(step);
  if (everything || rules_pending()) {
    save_oldest(options_.users_drained_per_step, false, step);
  } else {
    // No fewer than can have become dirty, so that the distance can't grow.
    save_oldest(std::max(options_.users_saved_per_step, applied_), true, step);
  }
  applied_ = 0;
  // A definition is activated at the clock, so all that was due before must have fired. A limit
  // can't wait for that: what is due may be what it is to stop.
  if (rules_pending() && users_->dirty() == 0 && (halted() || fired_ >= clock_.now())) {
    change_rules(step);
  }
  write_record(step);
}

void Task::save_user(StoredUser& user, Step& step) {
  value_.clear();
  AppendUserImage(user.state, position_, &value_);
  const auto write = [&](size_t part, std::optional<std::string_view> value) {
    FormatChangelogKey({.kind = part == 0 ? ChangelogKind::kUser : ChangelogKind::kImagePart,
                        .user = user.id(),
                        .part = static_cast<uint32_t>(part)},
                       &key_);
    step.write({.topic = Write::Topic::kChangelog,
                .partition = partition_,
                .key = key_,
                .has_value = value.has_value(),
                .value = value.value_or("")});
  };
  CutImage(value_, options_.image_part_bytes, write);
  const size_t before = CountImageParts(user.image_bytes(), options_.image_part_bytes);
  for (size_t part = CountImageParts(value_.size(), options_.image_part_bytes); part < before;
       ++part) {
    write(part, std::nullopt);
  }
  users_->mark_saved(user, value_.size());
  ++counts_.images_saved;
  counts_.image_bytes_saved += static_cast<int64_t>(value_.size());
}

bool Task::overdue(const StoredUser& user) const {
  return user.dirty_since() <= old_ ||
         position_.value() - user.dirty_since().value() > options_.max_replay_events;
}

void Task::save_oldest(size_t limit, bool only_overdue, Step& step) {
  const int64_t until = step.bytes() + static_cast<int64_t>(options_.bytes_saved_per_step);
  // They were last touched long ago, so the next ones' memory is asked for in time.
  StoredUser* ahead = users_->oldest_dirty();
  for (size_t i = 0; ahead && i < kSavedAhead; ++i) ahead = users_->newer_dirty(*ahead);
  for (size_t n = 0; n < limit && step.bytes() < until; ++n) {
    StoredUser* user = users_->oldest_dirty();
    if (!user || (only_overdue && !overdue(*user))) return;
    if (ahead) {
      Prefetch(ahead->state);
      ahead = users_->newer_dirty(*ahead);
      if (ahead) PrefetchUser(*ahead);
    }
    save_user(*user, step);
  }
}

Offset Task::replay_offset() const {
  const StoredUser* oldest = users_->oldest_dirty();
  return oldest ? std::min(oldest->dirty_since(), position_) : position_;
}

void Task::write_record(Step& step) {
  touched_ = false;
  record_.set_next_offset(position_.value());
  record_.set_clock_ms(fired_.millis());
  record_.set_next_change(next_change_);
  record_.set_replay_offset(replay_offset().value());
  record_.set_newest_record_ms(clock_.newest_record().millis());
  record_.set_state_hash(state_hash_);
  record_.set_users(static_cast<int64_t>(users_->size()));
  const std::string& ours = options_.time_zone_data_version;
  std::string zones = record_.settings().time_zone_data_version();
  if (zones.empty() || ours != kUnknownTimeZoneData) zones = ours;
  *record_.mutable_settings() = Recorded(settings_);
  record_.mutable_settings()->set_time_zone_data_version(std::move(zones));
  record_.mutable_counters()->set_changes(next_change_);
  record_.set_next_slot(definitions_.slots());
  record_.set_definitions_end(definitions_end_.value());
  record_.set_last_definition_change(definitions_.last_change_number());
  auto& members = *record_.mutable_members();
  for (Slot slot = 0; slot < members_.size(); ++slot) {
    if (members_[slot] != 0) {
      members[slot] = members_[slot];
    } else {
      members.erase(slot);
    }
  }
  record_guards();
  FormatChangelogKey({.kind = ChangelogKind::kTask}, &key_);
  step.write({.topic = Write::Topic::kChangelog,
              .partition = partition_,
              .key = key_,
              .value = FormatTaskRecord(record_)});
}

}  // namespace segmentd
