#include "stream/task.h"

#include <algorithm>
#include <atomic>

#include "fmt/format.h"

namespace segmentd {
namespace {

// How many records ahead each link in the chain of a user's cache misses is asked for, and the
// record itself.
constexpr size_t kIndexAhead = 16;
constexpr size_t kUserAhead = 8;
constexpr size_t kStateAhead = 4;
constexpr size_t kRecordAhead = 2;

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
    if (left > kRecordAhead) Prefetch(records[taken + kRecordAhead]);
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

bool Task::has_progress() const {
  return running() && (told_ > 0 || position_ != Offset(record_.next_offset()) ||
                       fired_ != Time::Millis(record_.clock_ms()) ||
                       definitions_end_ != Offset(record_.definitions_end()) || has_work());
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
