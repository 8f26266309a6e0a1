// How a task comes back to where the last commit left off: from what the changelog held and the
// input since then, checked against the hash that was recorded.
#include <string>
#include <string_view>
#include <utility>

#include "fmt/format.h"
#include "spdlog/spdlog.h"

#include "segment/time.h"
#include "stream/recorded_settings.h"
#include "stream/task.h"

namespace segmentd {
namespace {

// Memberships were decided under time zone data of another version. False where either is unknown.
bool OtherTimeZoneData(const segments::v1::DecisionSettings& recorded, const TaskOptions& options) {
  const std::string& then = recorded.time_zone_data_version();
  const std::string& now = options.time_zone_data_version;
  return !then.empty() && then != kUnknownTimeZoneData && now != kUnknownTimeZoneData &&
         then != now;
}

// Where only some of these begin again, changes are told twice under one number.
constexpr std::string_view kStartAnew =
    "To start anew, delete the changelog, the changes, whose numbers begin with 0 again, and the "
    "group's offsets, all three: see \"Starting anew\" in docs/operations.md.";

}  // namespace

absl::Status Task::start(std::unique_ptr<Restored> restored, std::optional<Offset> committed,
                         std::pair<Offset, Offset> held) {
  // The group's offset and the task record are committed together, so a group that is ahead means
  // that the changelog showed less than was committed, or that somebody moved the group.
  const Offset recorded(restored->record ? restored->record->next_offset() : 0);
  if (committed && (!restored->record || *committed > recorded)) {
    if (!restored->record) {
      return absl::AbortedError(fmt::format(
          "partition {}: the consumer group has committed offset {}, but the changelog has no task "
          "record. If the changelog topic was deleted or emptied, restore it. {}",
          partition_, committed->value(), kStartAnew));
    }
    return absl::AbortedError(fmt::format(
        "partition {0}: the consumer group's offset is {1}, but the changelog ends at {2}. If the "
        "group's offsets were moved, put them back while segmentd is stopped, and nothing is lost: "
        "kafka-consumer-groups.sh --bootstrap-server … --group {5} --topic {3}:{0} --reset-offsets "
        "--to-offset {2} --execute. If the changelog topic was deleted or emptied, restore it: "
        "offsets put back would tell changes twice then. {4}",
        partition_, committed->value(), recorded.value(), options_.events_topic, kStartAnew,
        options_.group));
  }
  if (committed && *committed < recorded) {
    spdlog::warn(
        "partition {}: the consumer group's offset is {}, but everything before {} was applied; "
        "going "
        "on from there",
        partition_, committed->value(), recorded.value());
  }
  if (absl::Status status = load(*restored, held); !status.ok()) {
    fail(status);
    return status;
  }
  if (position_ < Offset(record_.next_offset())) {
    state_ = TaskState::kReplaying;
    metrics_.state = state_;
    return absl::OkStatus();
  }
  return finish_replay();
}

absl::Status Task::go_on_from(segments::v1::TaskRecord record, std::pair<Offset, Offset> held) {
  record_ = std::move(record);
  settings_ = FromRecorded(record_.settings());
  if (OtherTimeZoneData(record_.settings(), options_)) {
    spdlog::warn(
        "partition {}: memberships were decided under time zone data {}, and are from now on "
        "under {}. Local midnights and dates may differ between the two; what was decided stays, "
        "and users' states go on under the new data. If it was an upgrade, there is nothing to "
        "do; otherwise install the same tzdata for all instances of the group.",
        partition_, record_.settings().time_zone_data_version(), options_.time_zone_data_version);
  }
  position_ = Offset(record_.replay_offset());
  definitions_end_ = Offset(record_.definitions_end());
  const Offset next(record_.next_offset());
  if (next > held.second) {
    return absl::DataLossError(fmt::format(
        "partition {}: the input ends at offset {}, but records up to {} were already applied. "
        "Was the topic made again? {}",
        partition_, held.second.value(), next.value(), kStartAnew));
  }
  if (position_ < held.first && position_ == next && options_.accept_lost_input) {
    spdlog::warn(
        "partition {}: records {} to {} were deleted before they were read; going on "
        "behind them",
        partition_, next.value(), held.first.value() - 1);
    position_ = held.first;
    record_.set_next_offset(held.first.value());
  }
  if (position_ < held.first) {
    return absl::DataLossError(fmt::format(
        "partition {}: the input begins at offset {}, but the records from {} on {}", partition_,
        held.first.value(), position_.value(),
        position_ == next
            ? "were not yet read: the topic's retention is shorter than segmentd was stopped. To "
              "go on without them, start with --accept-lost-input."
            : fmt::format("are needed to restore users' states. Raise the topic's retention. {}",
                          kStartAnew)));
  }
  return absl::OkStatus();
}

absl::Status Task::begin_anew(const Restored& restored, std::pair<Offset, Offset> held) {
  if (restored.users->size() != 0 || !restored.definitions.by_slot().empty()) {
    return absl::DataLossError(fmt::format(
        "partition {}: the changelog has users or definitions but no task record. Restore the "
        "topic. {}",
        partition_, kStartAnew));
  }
  position_ = options_.start_at_latest ? held.second : held.first;
  record_.set_next_offset(position_.value());
  record_.set_replay_offset(position_.value());
  record_.set_clock_ms(Time::Min().millis());
  record_.set_newest_record_ms(Time::Min().millis());
  record_.set_state_hash(0);
  return absl::OkStatus();
}

absl::Status Task::load(Restored& restored, std::pair<Offset, Offset> held) {
  absl::Status begun =
      restored.record ? go_on_from(*std::move(restored.record), held) : begin_anew(restored, held);
  if (!begun.ok()) return begun;

  definitions_ = std::move(restored.definitions);
  definitions_.restore_last_change_number(record_.last_definition_change());
  absl::StatusOr<std::shared_ptr<const RuleSet>> rules = definitions_.compile();
  if (!rules.ok()) {
    return absl::Status(
        rules.status().code(),
        fmt::format("partition {}: the definitions in force at offset {} can't be run by this "
                    "version of segmentd: {}. Go back to the version that ran them.",
                    partition_, record_.next_offset(), std::string(rules.status().message())));
  }
  rules_ = *std::move(rules);
  engine_ = std::make_unique<Engine>(rules_, settings_);
  decoder_ = std::make_unique<Decoder>(settings_);
  clock_ = PartitionClock(settings_.deadline_grace);
  members_.assign(definitions_.slots(), 0);
  restore_guards();
  statuses_ = std::make_shared<const DefinitionStatuses>(definitions_.statuses());
  scanned_slots_ = definitions_.deleting();
  next_change_ = record_.next_change();

  users_ = std::move(restored.users);
  included_ = std::move(restored.included);
  for (UserIndex i = 0; i < users_->size(); ++i) {
    StoredUser& user = (*users_)[i];
    for (const SegmentState& segment : user.state.present.segments) {
      if (!engine_->rules().segment(segment.slot)) {
        return absl::DataLossError(fmt::format(
            "partition {}: the image of user {} names slot {}, which no definition in the "
            "changelog has",
            partition_, user.id(), segment.slot));
      }
    }
    // Of images older than the definition. They were taken over when it was activated, with the
    // same result.
    if (engine_->take_over(user.state)) users_->mark_dirty(user, position_);
  }
  return absl::OkStatus();
}

size_t Task::replay(absl::Span<const Record> records) {
  const Offset until(record_.next_offset());
  size_t taken = 0;
  for (; taken < records.size() && records[taken].offset < until; ++taken) {
    const Record& record = records[taken];
    position_ = record.offset.next();
    const uint64_t hash = UserStore::Hash(record.key);
    const StoredUser* known = users_->find(hash, record.key);
    if (known && known->index() < included_.size() && record.offset < included_[known->index()]) {
      continue;
    }
    Event event;
    std::string_view id;
    if (!decoder_->decode(record, engine_->rules().fields(), &event, &id).ok()) continue;
    StoredUser& user = users_->find_or_create(hash, record.key);
    changes_.clear();
    // What the clock was then is not known, and need not be: whatever it fired before this record,
    // it is fired by the end of the replay, and a user's state does not depend on the order.
    engine_->apply(event, Time::Min(), user.state, changes_);
    users_->mark_dirty(user, record.offset);
  }
  return taken;
}

absl::Status Task::finish_replay() {
  position_ = Offset(record_.next_offset());
  fired_ = Time::Millis(record_.clock_ms());
  clock_.restore(fired_, Time::Millis(record_.newest_record_ms()));
  included_ = {};

  state_hash_ = 0;
  for (UserIndex i = 0; i < users_->size(); ++i) {
    StoredUser& user = (*users_)[i];
    if (user.state.next_deadline <= fired_) {
      changes_.clear();
      engine_->advance(fired_, user.state, changes_);
      users_->mark_dirty(user, position_);
    }
    user.counted_hash = StateHash(user.state);
    state_hash_ += user.counted_hash;
    arm(user);
    for (const SegmentState& segment : user.state.present.segments) {
      if (segment.member) ++members_[segment.slot];
    }
  }
  changes_.clear();

  std::string wrong;
  if (static_cast<int64_t>(users_->size()) != record_.users()) {
    wrong += fmt::format(" {} users instead of {};", users_->size(), record_.users());
  }
  for (Slot slot = 0; slot < members_.size(); ++slot) {
    const auto it = record_.members().find(slot);
    const int64_t recorded = it == record_.members().end() ? 0 : it->second;
    if (members_[slot] == recorded) continue;
    const ActiveSegment* segment = engine_->rules().segment(slot);
    wrong += fmt::format(" {} members of segment {} instead of {};", members_[slot],
                         segment ? segment->segment.id() : "?", recorded);
  }
  if (state_hash_ != record_.state_hash()) wrong += " another hash of memberships and deadlines;";
  if (!wrong.empty()) {
    wrong.pop_back();
    std::string zones;
    if (OtherTimeZoneData(record_.settings(), options_)) {
      zones = fmt::format(
          " The time zone data may be the cause: it was {} and is {}. Start with that of then (in "
          "a folder named by TZDIR), stop segmentd with SIGTERM, which saves everything, and start "
          "it with the new one.",
          record_.settings().time_zone_data_version(), options_.time_zone_data_version);
    }
    fail(absl::DataLossError(fmt::format(
        "partition {}: the state restored at offset {} (input read again from offset {}, clock {}) "
        "is not the one that was recorded:{}. Nothing more is written, because changes would be "
        "lost or told twice.{}",
        partition_, record_.next_offset(), record_.replay_offset(), FormatTimestamp(fired_), wrong,
        zones)));
    return failure_;
  }
  state_ = TaskState::kRunning;
  metrics_.state = state_;
  // What was cut off again.
  cut_off_ = engine_->counters();
  plan_builds();
  statuses_changed_ = true;
  refresh_statuses();
  publish_metrics();
  return absl::OkStatus();
}

}  // namespace segmentd
