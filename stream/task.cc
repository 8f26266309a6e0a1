#include "stream/task.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "fmt/format.h"
#include "spdlog/spdlog.h"

#include "segment/compiled_rules.h"
#include "state/changelog_codec.h"
#include "state/image_parts.h"
#include "state/user_codec.h"

namespace segmentd {
namespace {

using segments::v1::AppliedDefinition;
using segments::v1::DecisionSettings;

// Marks of positions are this far apart, so that there are few of them.
constexpr absl::Duration kMarkInterval = absl::Milliseconds(100);

// How many records ahead each link in the chain of a user's cache misses is asked for.
constexpr size_t kIndexAhead = 16;
constexpr size_t kUserAhead = 8;
constexpr size_t kStateAhead = 4;
// The same in the order of saving.
constexpr size_t kSavedAhead = 4;

DecisionSettings Recorded(const Settings& settings) {
  DecisionSettings recorded;
  recorded.set_max_lateness_ms(settings.max_lateness.millis());
  recorded.set_deadline_grace_ms(settings.deadline_grace.millis());
  recorded.set_max_future_skew_ms(settings.max_future_skew.millis());
  recorded.set_max_facts(settings.max_facts);
  recorded.set_max_message_ids(settings.max_message_ids);
  return recorded;
}

Settings FromRecorded(const DecisionSettings& recorded) {
  return {.max_lateness = Duration::Millis(recorded.max_lateness_ms()),
          .deadline_grace = Duration::Millis(recorded.deadline_grace_ms()),
          .max_future_skew = Duration::Millis(recorded.max_future_skew_ms()),
          .max_facts = static_cast<uint32_t>(recorded.max_facts()),
          .max_message_ids = static_cast<uint32_t>(recorded.max_message_ids())};
}

bool Same(const Settings& a, const Settings& b) {
  return a.max_lateness == b.max_lateness && a.deadline_grace == b.deadline_grace &&
         a.max_future_skew == b.max_future_skew && a.max_facts == b.max_facts &&
         a.max_message_ids == b.max_message_ids;
}

// Memberships were decided under time zone data of another version. False where either is unknown.
bool OtherTimeZoneData(const DecisionSettings& recorded, const TaskOptions& options) {
  const std::string& then = recorded.time_zone_data_version();
  const std::string& now = options.time_zone_data_version;
  return !then.empty() && then != kUnknownTimeZoneData && now != kUnknownTimeZoneData &&
         then != now;
}

void PrefetchUser(const StoredUser& user) {
  constexpr size_t kLine = 64;
  const char* at = reinterpret_cast<const char*>(&user);
  for (size_t i = 0; i < sizeof(StoredUser); i += kLine) __builtin_prefetch(at + i);
}

int64_t MinuteOf(Time time) {
  return time.millis() / 60'000;
}

// Where only some of these begin again, changes are told twice under one number.
constexpr std::string_view kStartAnew =
    "To start anew, delete the changelog, the changes, whose numbers begin with 0 again, and the "
    "group's offsets, all three: see \"Starting anew\" in docs/operations.md.";

std::atomic<uint64_t> lives{0};

}  // namespace

Task::Task(Partition partition, const TaskOptions& options, TaskMetrics& metrics)
    : partition_(partition),
      life_(++lives),
      options_(options),
      metrics_(metrics),
      settings_(options.settings),
      encoder_(options.output_format, options.events_topic, partition),
      users_(std::make_unique<UserStore>()),
      clock_(options.settings.deadline_grace),
      statuses_(std::make_shared<DefinitionStatuses>()) {
  metrics_.state = TaskState::kRestoring;
}

Task::~Task() = default;

void Task::fail(absl::Status cause) {
  failure_ = std::move(cause);
  state_ = TaskState::kFailed;
  metrics_.state = state_;
}

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

absl::Status Task::load(Restored& restored, std::pair<Offset, Offset> held) {
  if (restored.record) {
    record_ = *std::move(restored.record);
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
  } else {
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
  }

  definitions_ = std::move(restored.definitions);
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

size_t Task::apply(absl::Span<const Record> records, Time wall, Step& step) {
  size_t taken = 0;
  if (state_ == TaskState::kReplaying) {
    taken = replay(records);
    if (taken == records.size() && position_ < Offset(record_.next_offset())) return taken;
    if (!finish_replay().ok()) return taken;
  }
  if (state_ != TaskState::kRunning) return taken;

  hashes_.clear();
  for (const Record& record : records) hashes_.push_back(UserStore::Hash(record.key));
  for (; taken < records.size() && !step.full() && !halted(); ++taken) {
    const size_t left = records.size() - taken;
    if (left > kIndexAhead) users_->prefetch(hashes_[taken + kIndexAhead]);
    if (left > kUserAhead) users_->prefetch_user(hashes_[taken + kUserAhead]);
    if (left > kStateAhead) users_->prefetch_state(hashes_[taken + kStateAhead]);
    // A restored task whose input was not repositioned yet.
    if (records[taken].offset < position_) continue;
    apply_one(records[taken], hashes_[taken], wall, step);
  }
  return taken;
}

void Task::apply_one(const Record& record, uint64_t hash, Time wall, Step& step) {
  position_ = record.offset.next();
  ++applied_;
  auto& counters = *record_.mutable_counters();
  counters.set_events(counters.events() + 1);
  if (!clock_.read(record.record_time, wall)) ++counts_.future_records;

  Event event;
  std::string_view id;
  const DecodeResult decoded = decoder_->decode(record, engine_->rules().fields(), &event, &id);
  if (!decoded.ok()) {
    counters.set_dead_letters(counters.dead_letters() + 1);
    write_dead_letter(record, decoded, step);
    return;
  }
  ++counts_.events;
  if (decoded.time_replaced) ++counts_.future_times;

  StoredUser& user = users_->find_or_create(hash, record.key);
  switch (engine_->apply(event, fired_, user.state, changes_)) {
    case Outcome::kApplied:
      break;
    case Outcome::kLate:
      counters.set_late(counters.late() + 1);
      ++counts_.late;
      break;
    case Outcome::kTooLate:
      counters.set_too_late(counters.too_late() + 1);
      ++counts_.too_late;
      break;
    case Outcome::kDuplicate:
      counters.set_duplicates(counters.duplicates() + 1);
      ++counts_.duplicates;
      break;
  }
  tell(user, step);
  settle(user, record.offset, step);
}

void Task::settle(StoredUser& user, Offset since, Step& step) {
  // No deadline up to the recorded clock may stay unfired: a recovery would fire it silently.
  if (user.state.next_deadline <= fired_) {
    engine_->advance(fired_, user.state, changes_);
    tell(user, step);
  }
  touched_ = true;
  users_->mark_dirty(user, since);
  const uint64_t hash = StateHash(user.state);
  state_hash_ += hash - user.counted_hash;
  user.counted_hash = hash;
  arm(user);
}

void Task::arm(StoredUser& user) {
  if (user.state.next_deadline >= user.armed) return;
  user.armed = user.state.next_deadline;
  wheel_.arm(user.index(), user.armed);
}

void Task::tell(const StoredUser& user, Step& step, std::optional<Slot> untold) {
  for (const Change& change : changes_) {
    const ActiveSegment* segment = engine_->rules().segment(change.slot);
    if (change.action == segments::v1::ADD) ++members_[change.slot];
    if (change.action == segments::v1::REMOVE) --members_[change.slot];
    if (segment->segment.shadow() || change.slot == untold) {
      ++counts_.shadow_changes;
      continue;
    }
    value_.clear();
    encoder_.append(change, segment->segment, user.id(), next_change_++, &value_);
    step.write({.topic = Write::Topic::kChanges,
                .partition = partition_,
                .key = user.id(),
                .value = value_});
    if (segment->segment.max_changes_per_minute() > 0) guard(*segment);
    ++counts_.changes[static_cast<size_t>(change.action)];
    ++told_;
  }
  changes_.clear();
}

void Task::guard(const ActiveSegment& segment) {
  Minute& minute = minutes_[segment.slot];
  const int64_t now = MinuteOf(clock_.now());
  // A restored clock may be behind the one that counted.
  if (minute.version != segment.segment.version() || minute.minute < now) {
    minute = {segment.segment.version(), now, 0};
  }
  // Told of once a minute.
  if (++minute.changes != segment.segment.max_changes_per_minute() + 1 || segment.deleting) return;
  if (std::find(over_.begin(), over_.end(), segment.slot) == over_.end()) {
    over_.push_back(segment.slot);
  }
}

void Task::write_dead_letter(const Record& record, const DecodeResult& error, Step& step) {
  ++counts_.dead_letters[static_cast<size_t>(error.error)];
  const std::string partition = fmt::format_int(partition_).str();
  const std::string offset = fmt::format_int(record.offset.value()).str();
  headers_.assign(record.headers.begin(), record.headers.end());
  headers_.push_back({"error", DecodeErrorCode(error.error)});
  headers_.push_back({"detail", error.detail});
  headers_.push_back({"source-partition", partition});
  headers_.push_back({"source-offset", offset});
  step.write({.topic = Write::Topic::kDeadLetters,
              .partition = partition_,
              .has_key = record.has_key,
              .key = record.key,
              .has_value = record.has_value,
              .value = record.value,
              .headers = headers_});
  ++told_;
}

void Task::reach_end(Offset end, Time asked_at) {
  if (state_ == TaskState::kReplaying && end >= Offset(record_.next_offset())) {
    finish_replay().IgnoreError();  // It has failed the task.
  }
  if (state_ != TaskState::kRunning || end < position_) return;
  // What lies between are transaction markers.
  position_ = end;
  clock_.caught_up(asked_at);
}

bool Task::fire(Step& step) {
  const Time target = clock_.now();
  if (!running() || halted() || target <= fired_) return true;
  // Those ahead of the recorded clock are saved with the step, so their number is bounded too.
  if (step.full() || ahead_.size() >= options_.users_drained_per_step) return false;

  due_.clear();
  wheel_.take(target, options_.deadlines_per_portion, &due_);
  for (size_t i = 0; i < due_.size(); ++i) {
    if (i + kUserAhead < due_.size()) PrefetchUser((*users_)[due_[i + kUserAhead].user]);
    if (i + kStateAhead < due_.size()) Prefetch((*users_)[due_[i + kStateAhead].user].state);
    const TimingWheel::Due& due = due_[i];
    StoredUser& user = (*users_)[due.user];
    user.armed = Time::Max();
    if (user.state.next_deadline > due.deadline) {
      arm(user);
      continue;
    }
    engine_->advance(due.deadline, user.state, changes_);
    tell(user, step);
    settle(user, position_, step);
    ahead_.push_back(due);
    ++counts_.deadlines;
  }
  // What is left may fall into the moments just fired, and users may have got further deadlines.
  fired_ = std::max(fired_, std::min(target, wheel_.next() - Duration::Millis(1)));
  ahead_.erase(std::remove_if(ahead_.begin(), ahead_.end(),
                              [&](const TimingWheel::Due& due) { return due.deadline <= fired_; }),
               ahead_.end());
  return fired_ == target || halted();
}

void Task::want(WantedDefinitions definitions, Offset end) {
  if (end < definitions_end_) return;
  wanted_ = std::move(definitions);
  wanted_end_ = end;
  definitions_differ_ = wanted_ && definitions_.differ(*wanted_);
  if (!definitions_differ_) definitions_end_ = wanted_end_;
}

absl::Status Task::check_definitions_end(Offset end) {
  if (end >= definitions_end_) return absl::OkStatus();
  if (options_.accept_lost_definitions) {
    spdlog::warn(
        "partition {}: the definitions topic ends at offset {}, but definitions up to {} were run; "
        "going on with what it holds now",
        partition_, end.value(), definitions_end_.value());
    definitions_end_ = end;
    return absl::OkStatus();
  }
  fail(absl::DataLossError(
      fmt::format("partition {}: {}", partition_,
                  LostDefinitions("the definitions topic", end, definitions_end_))));
  return failure_;
}

bool Task::rules_pending() const {
  return definitions_differ_ || !freed_slots_.empty() || !ready_.empty() || !over_.empty() ||
         all_had_turn() || !Same(settings_, options_.settings);
}

bool Task::has_progress() const {
  return running() && (told_ > 0 || position_ != Offset(record_.next_offset()) ||
                       fired_ != Time::Millis(record_.clock_ms()) ||
                       definitions_end_ != Offset(record_.definitions_end()) || has_work());
}

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

void Task::save_definition(const AppliedDefinition& definition, Step& step) {
  FormatChangelogKey({.kind = ChangelogKind::kDefinition, .slot = definition.slot()}, &key_);
  step.write({.topic = Write::Topic::kChangelog,
              .partition = partition_,
              .key = key_,
              .value = FormatAppliedDefinition(definition)});
}

void Task::change_rules(Step& step) {
  bool edits = false;
  const bool all_fired = fired_ >= clock_.now();
  if (!freed_slots_.empty()) {
    for (const Slot slot : freed_slots_) {
      FormatChangelogKey({.kind = ChangelogKind::kDefinition, .slot = slot}, &key_);
      step.write({.topic = Write::Topic::kChangelog,
                  .partition = partition_,
                  .key = key_,
                  .has_value = false});
      definitions_.free(slot);
      minutes_[slot] = {};
    }
    freed_slots_.clear();
    // What compiled with the segments compiles without them.
    if (absl::StatusOr<std::shared_ptr<const RuleSet>> left = definitions_.compile(); left.ok()) {
      rules_ = *std::move(left);
    }
  }
  const auto apply = [&](AppliedDefinitions::Change change) {
    for (const AppliedDefinition& definition : change.definitions) {
      save_definition(definition, step);
    }
    definitions_.apply(change);
    edits = edits || change.edits;
    if (change.rules) rules_ = std::move(change.rules);
  };
  const bool pauses = !over_.empty();
  if (pauses) {
    for (Slot slot : over_) {
      spdlog::warn("partition {}: segment {} is paused: more changes in a minute than {}",
                   partition_, rules_->segment(slot)->segment.id(),
                   rules_->segment(slot)->segment.max_changes_per_minute());
    }
    apply(definitions_.pause(over_, position_, fired_));
    over_.clear();
  }
  if (!all_fired) {
    // Activated later.
  } else if (all_had_turn()) {
    apply(definitions_.enter(AppliedDefinition::ACTIVE,
                             definitions_.in_phase(AppliedDefinition::ACTIVATING)));
  } else if (!ready_.empty()) {
    apply(definitions_.enter(AppliedDefinition::ACTIVATING, definitions_.ready(ready_)));
  }
  // Users' states are taken over to a pause before another version may end it.
  if (wanted_ && all_fired && !pauses) {
    AppliedDefinitions::Change change =
        definitions_.plan(*wanted_, position_, clock_.now(), users_->size() == 0);
    for (const auto& [id, status] : change.rejected) {
      spdlog::error("partition {}: version {} of segment {} is not run: {}", partition_,
                    status.rejected_version, id, status.rejected);
    }
    apply(std::move(change));
    definitions_end_ = wanted_end_;
  }
  if (all_fired && !Same(settings_, options_.settings)) {
    settings_ = options_.settings;
    const Time newest_record = clock_.newest_record();
    const Time now = clock_.now();
    clock_ = PartitionClock(settings_.deadline_grace);
    clock_.restore(now, newest_record);
    count_cut_off();
    engine_ = std::make_unique<Engine>(rules_, settings_);
    cut_off_ = {};
    decoder_ = std::make_unique<Decoder>(settings_);
    // A new engine counts its rules anew.
    for (UserIndex i = 0; i < users_->size(); ++i) (*users_)[i].state.rules_generation = 0;
  } else {
    engine_->use(rules_);
  }
  members_.resize(std::max<size_t>(members_.size(), definitions_.slots()), 0);
  minutes_.resize(members_.size());
  plan_builds();
  definitions_differ_ = wanted_ && definitions_.differ(*wanted_);
  statuses_changed_ = true;
  if (scanned_slots_.empty()) {
    scanned_slots_ = definitions_.deleting();
    scan_at_ = 0;
  }
  // As a restored task will, from images older than this.
  if (!edits && scanned_slots_.empty()) return;
  for (UserIndex i = 0; i < users_->size(); ++i) {
    StoredUser& user = (*users_)[i];
    if (engine_->take_over(user.state)) settle(user, position_, step);
  }
}

void Task::scan(Step& step) {
  const size_t portion =
      std::max<size_t>(options_.users_scanned_per_step / scanned_slots_.size(), 1);
  const size_t until = std::min(users_->size(), scan_at_ + portion);
  for (; scan_at_ < until && !step.full() && !halted(); ++scan_at_) {
    StoredUser& user = (*users_)[scan_at_];
    bool any = false;
    for (const Slot slot : scanned_slots_) {
      // Where only the user's base has a state, there is nothing to tell.
      const bool told = definitions_.told(slot, user.state.present.segments.find(slot));
      if (!engine_->remove(slot, fired_, user.state, changes_)) continue;
      any = true;
      tell(user, step, told ? std::nullopt : std::optional(slot));
    }
    if (!any) continue;
    settle(user, position_, step);
    save_user(user, step);
  }
  if (scan_at_ < users_->size()) return;
  freed_slots_.swap(scanned_slots_);
  scanned_slots_.clear();
  scan_at_ = 0;
}

// --- Segments that count the past.

const History* Task::history_of(Slot slot) const {
  const ActiveSegment* segment = rules_->segment(slot);
  for (const auto& history : histories_) {
    if (segment && history->has(*segment)) return history.get();
  }
  return nullptr;
}

void Task::plan_builds() {
  const std::vector<Slot> building = definitions_.in_phase(AppliedDefinition::BUILDING);
  const std::vector<Slot> activating = definitions_.in_phase(AppliedDefinition::ACTIVATING);
  const auto reads = [&](Slot slot) {
    return ReadsPast(definitions_.by_slot().at(slot).segment());
  };

  // What is read at once: all that begin to count at the same offset.
  std::map<int64_t, std::vector<Slot>> by_offset;
  for (const auto* slots : {&building, &activating}) {
    for (Slot slot : *slots) {
      if (reads(slot)) {
        by_offset[definitions_.by_slot().at(slot).history_offset()].push_back(slot);
      }
    }
  }
  std::vector<HistoryRequest> wanted;
  std::vector<double> read;
  for (const auto& [offset, slots] : by_offset) {
    const auto has_all = [&, offset = offset, &slots = slots](const HistoryRequest& request) {
      return request.until == Offset(offset) && Same(request.settings, settings_) &&
             std::all_of(slots.begin(), slots.end(), [&](Slot slot) {
               const ActiveSegment* segment = request.rules->segment(slot);
               return segment &&
                      segment->segment.version() == rules_->segment(slot)->segment.version() &&
                      segment->segment.id() == rules_->segment(slot)->segment.id();
             });
    };
    // Goes on, though some segment of it may not be wanted any more.
    const auto same = std::find_if(histories_wanted_.begin(), histories_wanted_.end(), has_all);
    if (same != histories_wanted_.end()) {
      read.push_back(read_[static_cast<size_t>(same - histories_wanted_.begin())]);
      wanted.push_back(*same);
      continue;
    }
    absl::StatusOr<std::shared_ptr<const RuleSet>> rules = definitions_.compile(slots);
    if (!rules.ok()) continue;  // They run already.
    HistoryRequest request{.partition = partition_,
                           .until = Offset(offset),
                           .rules = *std::move(rules),
                           .settings = settings_};
    request.key = fmt::format("{} {} {} {} {} {}", partition_, offset,
                              settings_.max_lateness.millis(), settings_.max_future_skew.millis(),
                              settings_.max_facts, settings_.max_message_ids);
    for (Slot slot : slots) {
      const segments::v1::Segment& segment = rules_->segment(slot)->segment;
      request.key += fmt::format(" {}:{}:{}:{}.{}", slot, segment.id(), segment.version(),
                                 segment.create_time().seconds(), segment.create_time().nanos());
    }
    wanted.push_back(std::move(request));
    read.push_back(0);
  }
  histories_wanted_ = std::move(wanted);
  read_ = std::move(read);
  histories_.erase(std::remove_if(histories_.begin(), histories_.end(),
                                  [&](const auto& history) {
                                    return std::none_of(histories_wanted_.begin(),
                                                        histories_wanted_.end(),
                                                        [&](const HistoryRequest& request) {
                                                          return history->rules() == request.rules;
                                                        });
                                  }),
                   histories_.end());

  const auto known = [&](Slot slot) { return !reads(slot) || history_of(slot) != nullptr; };
  ready_.clear();
  if (activating.empty()) {
    std::copy_if(building.begin(), building.end(), std::back_inserter(ready_), known);
    ready_ = definitions_.ready(std::move(ready_));
  }
  std::vector<Slot> turns;
  if (std::all_of(activating.begin(), activating.end(), known)) turns = activating;
  const auto& rules = rules_->compiled().rules;
  std::sort(turns.begin(), turns.end(),
            [&](Slot a, Slot b) { return rules[a].rank < rules[b].rank; });
  if (turns != turns_) turn_at_ = 0;
  turns_ = std::move(turns);
}

void Task::take_history(size_t index, const std::shared_ptr<const History>& history) {
  if (std::find(histories_.begin(), histories_.end(), history) != histories_.end()) return;
  // A reading begun in another life has rules of its own that are the same.
  histories_wanted_[index].rules = history->rules();
  read_[index] = 1;
  histories_.push_back(history);
  statuses_changed_ = true;
  plan_builds();
}

void Task::note_reading(size_t index, double progress) {
  if (progress < read_[index] + 0.01) return;
  read_[index] = progress;
  statuses_changed_ = true;
}

void Task::take_turns(Step& step) {
  const size_t portion = std::max<size_t>(options_.users_built_per_step / turns_.size(), 1);
  const size_t until = std::min(users_->size(), turn_at_ + portion);
  const int64_t bytes = step.bytes() + static_cast<int64_t>(options_.bytes_saved_per_step);
  for (; turn_at_ < until && !step.full() && step.bytes() < bytes && !halted(); ++turn_at_) {
    StoredUser& user = (*users_)[turn_at_];
    bool any = false;
    built_.clear();
    for (Slot slot : turns_) any = take_turn(user, slot, step) || any;
    if (!any) continue;
    engine_->end_turn(built_, user.state);
    settle(user, position_, step);
    save_user(user, step);
  }
  statuses_changed_ = true;
}

bool Task::take_turn(StoredUser& user, Slot slot, Step& step) {
  const AppliedDefinition& definition = definitions_.by_slot().at(slot);
  const History* history = history_of(slot);
  const bool any = history && history->take(user.id(), slot, user.state.seen, &past_);
  const bool untold =
      definition.untold() && !definitions_.told(slot, user.state.present.segments.find(slot));
  const Reason reason =
      definition.first() || untold ? segments::v1::BACKFILLED : segments::v1::DEFINITION_CHANGED;
  const bool was_member = IsMember(user.state, slot);
  const bool taken_over = engine_->take_over(user.state);
  const bool built =
      engine_->build(slot, fired_, any ? &past_ : nullptr, reason, user.state, changes_);
  if (built) built_.push_back(slot);
  if (!taken_over && !built && changes_.empty()) return false;
  if (untold) {
    // Whoever is a member becomes one for the consumers now, and was none before.
    changes_.erase(std::remove_if(changes_.begin(), changes_.end(),
                                  [&](const Change& change) { return change.slot == slot; }),
                   changes_.end());
    if (was_member) --members_[slot];
    if (IsMember(user.state, slot)) {
      changes_.push_back({segments::v1::ADD,
                          slot,
                          std::max(fired_, user.state.newest_event),
                          segments::v1::BACKFILLED,
                          {},
                          Time(),
                          {}});
    }
  }
  tell(user, step);
  return true;
}

DefinitionStatuses Task::progress() const {
  DefinitionStatuses statuses = definitions_.statuses();
  for (const auto& [slot, definition] : definitions_.by_slot()) {
    const auto it = statuses.find(definition.segment().id());
    if (definition.deleting() || it == statuses.end() || !it->second.building) continue;
    double read = 1;
    for (size_t i = 0; i < histories_wanted_.size(); ++i) {
      if (ReadsPast(definition.segment()) && histories_wanted_[i].rules->segment(slot)) {
        read = std::min(read, read_[i]);
      }
    }
    // A tenth for the users' turns.
    it->second.progress = 0.9 * read;
    if (definition.phase() != AppliedDefinition::ACTIVATING || turns_.empty()) continue;
    const auto users = static_cast<double>(std::max<size_t>(users_->size(), 1));
    it->second.progress += 0.1 * static_cast<double>(turn_at_) / users;
  }
  return statuses;
}

bool Task::refresh_statuses() {
  if (!statuses_changed_) return false;
  statuses_ = std::make_shared<const DefinitionStatuses>(progress());
  statuses_changed_ = false;
  int64_t paused = 0;
  int64_t active = 0;
  for (const auto& [slot, definition] : definitions_.by_slot()) {
    if (definition.paused()) ++paused;
    active += !definition.paused() && definition.phase() == AppliedDefinition::ACTIVE;
  }
  metrics_.segments_active.set(active);
  metrics_.segments_paused.set(paused);
  metrics_.segments_building.set(
      static_cast<int64_t>(definitions_.in_phase(AppliedDefinition::BUILDING).size()));
  metrics_.segments_activating.set(
      static_cast<int64_t>(definitions_.in_phase(AppliedDefinition::ACTIVATING).size()));
  double least = 1;
  for (const auto& [id, status] : *statuses_) {
    if (status.building && !status.paused) least = std::min(least, status.progress);
  }
  metrics_.backfill_progress.set(static_cast<int64_t>(least * 1000));
  return true;
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

void Task::record_guards() {
  record_.clear_guard_counts();
  const int64_t now = MinuteOf(clock_.now());
  for (const auto& [slot, definition] : definitions_.by_slot()) {
    const segments::v1::Segment& segment = definition.segment();
    if (segment.max_changes_per_minute() == 0 || definition.paused()) continue;
    const Minute& minute = minutes_[slot];
    const bool over = std::find(over_.begin(), over_.end(), slot) != over_.end();
    if (minute.version != segment.version() || (minute.minute < now && !over)) continue;
    segments::v1::GuardCount& count = *record_.add_guard_counts();
    count.set_slot(slot);
    count.set_version(minute.version);
    count.set_minute(minute.minute);
    count.set_changes(minute.changes);
    count.set_over(over);
  }
}

void Task::restore_guards() {
  minutes_.assign(definitions_.slots(), {});
  over_.clear();
  for (const segments::v1::GuardCount& count : record_.guard_counts()) {
    const auto it = definitions_.by_slot().find(count.slot());
    if (it == definitions_.by_slot().end()) continue;
    minutes_[count.slot()] = {count.version(), count.minute(), count.changes()};
    if (count.over()) over_.push_back(count.slot());
  }
}

void Task::committed() {
  told_ = 0;
  count_cut_off();
  metrics_.add(std::exchange(counts_, {}));
  refresh_statuses();
  publish_metrics();
}

void Task::close() {
  state_ = TaskState::kClosed;
  metrics_.state = state_;
}

void Task::count_cut_off() {
  const EngineCounters& now = engine_->counters();
  counts_.pendings_dropped += now.pendings_dropped - cut_off_.pendings_dropped;
  counts_.facts_dropped += now.facts_dropped - cut_off_.facts_dropped;
  counts_.message_ids_dropped += now.message_ids_dropped - cut_off_.message_ids_dropped;
  counts_.profile_writes_refused += now.profile_writes_refused - cut_off_.profile_writes_refused;
  cut_off_ = now;
}

void Task::publish_metrics() {
  metrics_.users.set(static_cast<int64_t>(users_->size()));
  metrics_.users_unsaved.set(static_cast<int64_t>(users_->dirty()));
  metrics_.state_bytes.set(static_cast<int64_t>(users_->bytes() + wheel_.bytes()));
  metrics_.next_offset.set(position_.value());
  metrics_.end_offset.set(std::max(metrics_.end_offset.value(), position_.value()));
  metrics_.replay_distance.set(position_.value() - replay_offset().value());
  metrics_.clock_ms.set(fired_ == Time::Min() ? 0 : fired_.millis());
}

}  // namespace segmentd
