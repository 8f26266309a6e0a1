#include "stream/worker.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "spdlog/spdlog.h"

namespace segmentd {
namespace {

// Records given to a task at once; between, deadlines fire and commits happen.
constexpr size_t kRunRecords = 1'000;
constexpr size_t kMaxQuestions = 4'096;
constexpr absl::Duration kIdleWait = absl::Milliseconds(10);
// While questions come: they wait for the poll to return.
constexpr absl::Duration kAskedWait = absl::Milliseconds(1);
constexpr absl::Duration kAskedLately = absl::Milliseconds(200);
// So often the broker says that the definitions end before what was run, over 3 s, before they are
// lost: one that has just become the leader may know less for a moment.
constexpr int kTooLowAnswers = 6;
// How old the lag that is reported may be.
constexpr absl::Duration kEndsKnown = absl::Seconds(5);

absl::Duration Backoff(int failures) {
  return std::min(absl::Milliseconds(100) * (1 << std::min(failures, 10)), absl::Seconds(10));
}

// Ends by itself: waited for, however long it takes.
bool IsPassing(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

const char* Name(CommitResult result) {
  switch (result) {
    case CommitResult::kCommitted:
      return "committed";
    case CommitResult::kAborted:
      return "aborted";
    case CommitResult::kUnknown:
      return "of unknown outcome";
    case CommitResult::kFenced:
      return "fenced, because another instance has taken over or this one's session or transaction "
             "timed out, as in an outage";
  }
  return "";
}

}  // namespace

Worker::Worker(const WorkerOptions& options, Source& source, Transactions& transactions,
               Changelog& changelog, HistorySource& history, Clock& clock, TaskBoard& board)
    : options_(options),
      source_(source),
      transactions_(*this, transactions),
      changelog_(changelog),
      clock_(clock),
      board_(board),
      backfill_(options.backfill, history, clock),
      step_(transactions_, options.step) {
  source_.listen({.given = [this](const std::vector<Partition>& p) { give(p); },
                  .revoked = [this](const std::vector<Partition>& p) { revoke(p); },
                  .lost = [this](const std::vector<Partition>& p) { lose(p); }});
}

Worker::~Worker() {
  if (reading_) {
    reading_->cancelled = true;
    if (reading_->thread.joinable()) reading_->thread.join();
  }
}

bool Worker::turn() {
  const absl::Duration now = clock_.monotonic();
  if (board_.stopped_all()) fail_all();
  // At least half of the last round went into work.
  backfill_.set_busy(behind_ || waited_ * 2 < now - turn_began_);
  turn_began_ = now;
  waited_ = absl::ZeroDuration();
  take_up_definitions();
  recover();
  read_histories();
  // Definitions that were there first hold from the first record on.
  if (std::exchange(commit_now_, false) && !commit()) return true;

  const absl::Duration polled = clock_.monotonic();
  const absl::StatusOr<const Batch*> batch = source_.poll(wait(polled));
  waited_ = clock_.monotonic() - polled;
  if (!batch.ok()) {
    fail_to_poll(batch.status());
    answer();
    return false;
  }
  poll_failures_ = 0;
  // The poll may have found it: nothing of this batch is told.
  if (board_.stopped_all()) {
    fail_all();
    answer();
    return true;
  }
  // Only what is long goes into the transaction before its commit.
  if (step_.held() && behind_ && clock_.monotonic() >= settled_at_) step_.release();
  if (!process(**batch) || !fire()) return true;
  if (commit_due(clock_.monotonic()) && !commit()) return true;
  answer();
  look_for_ends();
  return true;
}

void Worker::fail_to_poll(const absl::Status& status) {
  if (IsPassing(status)) {
    drop_all(std::string(status.message()));
    return;
  }
  if (poll_failures_ >= options_.attempts) return;
  // Where it is a position that is no longer held, that shows when its task is restored, and fails
  // that one alone.
  drop_all(std::string(status.message()));
  if (++poll_failures_ < options_.attempts) return;
  for (auto& [partition, seat] : seats_) {
    seat.tries = options_.attempts;
    retry_or_fail(partition, seat, status);
  }
}

void Worker::fail_all() {
  const auto runs = [](const auto& seat) {
    return seat.second.task->state() != TaskState::kFailed;
  };
  if (std::none_of(seats_.begin(), seats_.end(), runs)) return;
  // What is not committed may be of users who have moved already.
  drop_all("partitions were added to the input");
  for (auto& [partition, seat] : seats_) {
    seat.tries = options_.attempts;
    retry_or_fail(partition, seat,
                  absl::FailedPreconditionError(fmt::format(
                      "partitions were added to the input, which had {} when segmentd started: "
                      "users' events come in other partitions than their states are in; see \"The "
                      "number of partitions\" in docs/operations.md",
                      options_.partitions)));
  }
}

void Worker::stop() {
  std::vector<Partition> all;
  for (const auto& [partition, seat] : seats_) all.push_back(partition);
  revoke(all);
  {
    const std::scoped_lock lock(mutex_);
    stopped_ = true;
  }
  answer();
}

void Worker::want(WantedDefinitions definitions, Offset end) {
  const std::scoped_lock lock(mutex_);
  wanted_ = std::move(definitions);
  wanted_end_ = end;
  wanted_changed_ = true;
}

bool Worker::ask(Question question) {
  const std::scoped_lock lock(mutex_);
  if (stopped_ || questions_.size() >= kMaxQuestions) return false;
  questions_.push_back(std::move(question));
  asked_ = true;
  return true;
}

const Task* Worker::running(Partition partition) const {
  const auto it = seats_.find(partition);
  return it != seats_.end() && it->second.task->running() ? it->second.task.get() : nullptr;
}

// --- Partitions come and go.

void Worker::new_task(Partition partition, Seat& seat) {
  seat.task = std::make_unique<Task>(partition, options_.task, board_.metrics(partition));
  seat.committed.reset();
  if (reading_ && reading_->partition == partition) reading_->cancelled = true;
  post(partition, seat);
}

void Worker::give(const std::vector<Partition>& partitions) {
  for (Partition partition : partitions) {
    spdlog::info("partition {}: given", partition);
    Seat& seat = seats_[partition];
    seat = Seat();
    new_task(partition, seat);
    if (partition >= options_.partitions) board_.stop_all();
  }
  assigned_.store(true, std::memory_order_release);
}

void Worker::release(Partition partition) {
  const auto it = seats_.find(partition);
  if (it == seats_.end()) return;
  if (reading_ && reading_->partition == partition) reading_->cancelled = true;
  if (it->second.task->running()) it->second.task->close();
  board_.metrics(partition).state = TaskState::kClosed;
  seats_.erase(it);
  board_.remove(partition, this);
}

void Worker::revoke(const std::vector<Partition>& partitions) {
  save_everything(partitions);
  for (Partition partition : partitions) {
    const Task* task = running(partition);
    if (task && task->saved()) {
      spdlog::info("partition {}: released, all saved", partition);
    } else {
      spdlog::warn(
          "partition {}: released before all was saved; its next owner reads the input again",
          partition);
    }
    release(partition);
  }
}

void Worker::lose(const std::vector<Partition>& partitions) {
  // The open transaction may hold changes of theirs.
  if (!step_.empty()) drop_all("partitions were lost within a step");
  for (Partition partition : partitions) {
    spdlog::warn(
        "partition {}: lost: this worker's session timed out, as in an outage, or another process "
        "has its name; the group gives it out again",
        partition);
    release(partition);
  }
}

void Worker::save_everything(absl::Span<const Partition> partitions) {
  const absl::Duration until = clock_.monotonic() + options_.revoke_limit;
  while (commit(partitions)) {
    const bool saved = std::all_of(partitions.begin(), partitions.end(), [&](Partition partition) {
      const Task* task = running(partition);
      return !task || task->saved();
    });
    if (saved || clock_.monotonic() >= until) return;
  }
}

// --- Recovery.

void Worker::take_up_definitions() {
  const auto live = [](const Task& task) {
    return task.running() || task.state() == TaskState::kReplaying;
  };
  if (wanted_changed_.load(std::memory_order_relaxed)) {
    {
      const std::scoped_lock lock(mutex_);
      definitions_ = wanted_;
      definitions_end_ = wanted_end_;
      wanted_changed_ = false;
    }
    for (auto& [partition, seat] : seats_) {
      if (live(*seat.task)) seat.task->want(definitions_, definitions_end_);
    }
    definitions_doubted_ = true;
  }
  if (!definitions_doubted_ || clock_.monotonic() < doubt_.until) return;
  Offset run;
  for (const auto& [partition, seat] : seats_) {
    if (live(*seat.task)) run = std::max(run, seat.task->definitions_end());
  }
  const absl::StatusOr<Offset> end = definitions_end(run);
  if (!end.ok()) {
    spdlog::warn("{}; the tasks go on with what they run, and it is asked again",
                 std::string(end.status().message()));
    return;
  }
  definitions_doubted_ = false;
  // The tasks fail with nothing in the step.
  if (*end < run) drop_all("the definitions topic ends before what was run of it");
}

absl::StatusOr<Offset> Worker::definitions_end(Offset run) {
  if (!definitions_) return run;
  if (definitions_end_ >= run || !options_.definitions_end) return definitions_end_;
  if (clock_.monotonic() < doubt_.until) return doubt_.why;
  // Another instance may have read further than this one.
  absl::StatusOr<Offset> end;
  {
    const BrokerWait::Call waiting(broker_wait_);
    end = options_.definitions_end();
  }
  if (end.ok() && *end >= run) {
    doubt_ = Doubt();
    return end;
  }
  if (end.ok() && ++doubt_.too_low >= kTooLowAnswers) return end;
  doubt_.why = end.ok() ? absl::UnavailableError(fmt::format(
                              "the broker says that the definitions topic ends at offset {}, but "
                              "definitions up to {} were run",
                              end->value(), run.value()))
                        : absl::Status(end.status().code(),
                                       fmt::format("definitions up to {} were run, of which this "
                                                   "instance has read those up to {}, and the "
                                                   "broker does not say where their topic ends: {}",
                                                   run.value(), definitions_end_.value(),
                                                   std::string(end.status().message())));
  doubt_.until = clock_.monotonic() + Backoff(doubt_.asked++);
  return doubt_.why;
}

void Worker::drop_all(std::string_view why) {
  const absl::Duration now = clock_.monotonic();
  metrics_.aborts.add(1);
  {
    const BrokerWait::Call waiting(broker_wait_);
    step_.abort();
  }
  step_began_.reset();
  more_due_ = false;
  renew_ = true;
  renew_at_ = now + Backoff(failures_++);
  spdlog::warn("a step was not committed ({}); restoring {} tasks", why, seats_.size());
  for (auto& [partition, seat] : seats_) {
    if (seat.task->state() == TaskState::kFailed) continue;
    board_.metrics(partition).restores.add(1);
    new_task(partition, seat);
  }
}

void Worker::recover() {
  finish_reading();
  const absl::Duration now = clock_.monotonic();
  if (renew_) {
    if (now < renew_at_) return;
    const BrokerWait::Call waiting(broker_wait_);
    if (const absl::Status status = transactions_.renew(); !status.ok()) {
      renew_at_ = now + Backoff(failures_++);
      spdlog::error("no transactions: {}", std::string(status.message()));
      return;
    }
    renew_ = false;
  }
  for (auto& [partition, seat] : seats_) {
    if (reading_) return;
    if (seat.task->state() != TaskState::kRestoring || now < seat.retry_at) continue;
    // Where it is known already that the task would have to wait, the changelog need not be read.
    if (const auto end = definitions_end(seat.definitions_end); !end.ok()) {
      retry_or_fail(partition, seat, end.status());
      continue;
    }
    read_changelog(partition, seat);
  }
}

void Worker::read_changelog(Partition partition, Seat& seat) {
  // Before the changelog: once the group's offset is known to be settled, no older owner can commit
  // any more, so the changelog has to show at least as much.
  const BrokerWait::Call waiting(broker_wait_);
  absl::StatusOr<std::optional<Offset>> committed = source_.committed(partition);
  if (!committed.ok()) {
    retry_or_fail(partition, seat, committed.status());
    return;
  }
  seat.committed = *committed;
  reading_ = std::make_unique<Reading>();
  reading_->partition = partition;
  const auto read = [reading = reading_.get(), &changelog = changelog_,
                     &metrics = board_.metrics(partition)] {
    reading->result = ReadChangelog(changelog, reading->partition, reading->cancelled, metrics);
    reading->done.store(true, std::memory_order_release);
  };
  if (options_.restore_in_background) {
    reading_->thread = std::thread(read);
  } else {
    read();
    finish_reading();
  }
}

void Worker::finish_reading() {
  if (!reading_ || !reading_->done.load(std::memory_order_acquire)) return;
  const std::unique_ptr<Reading> reading = std::move(reading_);
  if (reading->thread.joinable()) reading->thread.join();
  const auto it = seats_.find(reading->partition);
  if (reading->cancelled || it == seats_.end()) return;
  Seat& seat = it->second;
  absl::Status status = reading->result.status();
  if (status.ok()) status = begin_task(it->first, seat, *std::move(reading->result));
  if (!status.ok()) retry_or_fail(it->first, seat, status);
}

absl::Status Worker::begin_task(Partition partition, Seat& seat,
                                std::unique_ptr<Restored> restored) {
  const BrokerWait::Call waiting(broker_wait_);
  const auto held = source_.bounds(partition);
  if (!held.ok()) return held.status();
  absl::Status status = seat.task->start(std::move(restored), seat.committed, *held);
  if (!status.ok()) return status;
  seat.definitions_end = seat.task->definitions_end();
  const absl::StatusOr<Offset> definitions_end = this->definitions_end(seat.definitions_end);
  if (!definitions_end.ok()) {
    new_task(partition, seat);
    return definitions_end.status();
  }
  status = seat.task->check_definitions_end(*definitions_end);
  if (!status.ok()) return status;
  if (definitions_) seat.task->want(definitions_, definitions_end_);
  status = source_.start(partition, seat.task->position());
  if (!status.ok()) {
    new_task(partition, seat);
    return status;
  }
  spdlog::info("partition {}: {} users restored, input from offset {}", partition,
               seat.task->users().size(), seat.task->position().value());
  seat.tries = 0;
  seat.waits = 0;
  commit_now_ = commit_now_ || seat.task->has_work();
  post(partition, seat);
  return absl::OkStatus();
}

void Worker::retry_or_fail(Partition partition, Seat& seat, const absl::Status& status) {
  const std::string why(status.message());
  if (seat.task->state() != TaskState::kFailed) {
    const bool passing = IsPassing(status);
    if (passing || (++seat.tries < options_.attempts && !absl::IsDataLoss(status) &&
                    !absl::IsUnimplemented(status))) {
      seat.retry_at = clock_.monotonic() + Backoff(passing ? ++seat.waits : seat.tries);
      spdlog::warn("partition {}: not restored, trying again: {}", partition, why);
      return;
    }
    seat.task->fail(status);
  }
  spdlog::error("partition {}: FAILED: {}", partition, why);
  post(partition, seat);
}

void Worker::read_histories() {
  backfill_.turn();
  for (auto& [partition, seat] : seats_) {
    Task& task = *seat.task;
    // A task that is being restored may want the same again.
    if (!task.running() || (seat.readings.empty() && task.histories_wanted().empty())) continue;
    std::vector<std::shared_ptr<HistoryReading>> wanted;
    for (size_t i = 0; i < task.histories_wanted().size(); ++i) {
      const HistoryRequest& request = task.histories_wanted()[i];
      const auto found =
          std::find_if(seat.readings.begin(), seat.readings.end(),
                       [&](const auto& reading) { return reading->request().key == request.key; });
      if (found == seat.readings.end()) {
        spdlog::info("partition {}: reading the history before offset {}", partition,
                     request.until.value());
        wanted.push_back(backfill_.begin(request, board_.metrics(partition)));
        continue;
      }
      wanted.push_back(*found);
    }
    seat.readings = std::move(wanted);
    for (size_t i = 0; i < seat.readings.size(); ++i) {
      if (seat.readings[i]->done()) {
        task.take_history(i, seat.readings[i]->history());
      } else {
        task.note_reading(i, seat.readings[i]->progress());
      }
    }
    if (task.refresh_statuses()) post(partition, seat);
  }
}

// --- Steps.

bool Worker::process(const Batch& batch) {
  const Time wall = clock_.wall();
  const std::vector<Record>& records = batch.records;
  behind_ = records.size() >= kRunRecords;
  for (size_t i = 0; i < records.size();) {
    const Partition partition = records[i].partition;
    size_t end = i + 1;
    while (end < records.size() && end - i < kRunRecords && records[end].partition == partition) {
      ++end;
    }
    const auto it = seats_.find(partition);
    if (it == seats_.end() || (it->second.task->state() != TaskState::kRunning &&
                               it->second.task->state() != TaskState::kReplaying)) {
      i = end;
      continue;
    }
    Task& task = *it->second.task;
    const TaskState before = task.state();
    if (!step_began_) step_began_ = clock_.monotonic();
    i += task.apply(absl::MakeConstSpan(records).subspan(i, end - i), wall, step_);
    if (task.state() != before) post(partition, it->second);
    if (task.state() == TaskState::kFailed) {
      retry_or_fail(partition, it->second, task.failure());
      continue;
    }
    task.fire(step_);
    // A halted task takes the rest once the segment is paused.
    if ((step_.full() || task.halted() || commit_due(clock_.monotonic())) && !commit()) {
      return false;
    }
  }
  for (const Batch::End& end : batch.ends) {
    const auto it = seats_.find(end.partition);
    if (it == seats_.end()) continue;
    Task& task = *it->second.task;
    const TaskState before = task.state();
    task.reach_end(end.position, end.asked_at);
    it->second.end_known_at = clock_.monotonic();
    if (task.state() == before) continue;
    post(end.partition, it->second);
    if (task.state() == TaskState::kFailed) {
      retry_or_fail(end.partition, it->second, task.failure());
    }
  }
  return true;
}

bool Worker::fire() {
  const bool more = std::exchange(more_due_, false);
  if (more && !behind_ && step_.records() >= options_.wave_records) {
    more_due_ = true;
    return true;
  }
  for (auto& [partition, seat] : seats_) {
    while (!seat.task->fire(step_)) {
      more_due_ = true;
      if (!step_.full()) break;
      if (!commit()) return false;
    }
  }
  return true;
}

void Worker::look_for_ends() {
  const absl::Duration now = clock_.monotonic();
  if (now - ends_looked_at_ < kEndsKnown) return;
  ends_looked_at_ = now;
  for (auto& [partition, seat] : seats_) {
    if (!seat.task->running() || now - seat.end_known_at < kEndsKnown) continue;
    // Only for the metric: nothing to wait for, a broker that does not answer least of all.
    const std::optional<Offset> end = source_.known_end(partition);
    if (end) board_.metrics(partition).end_offset.set(end->value());
  }
}

absl::Duration Worker::interval() const {
  return behind_ ? std::max(options_.commit_interval, options_.backlog_interval)
                 : options_.commit_interval;
}

bool Worker::commit_due(absl::Duration now) const {
  if (step_.full()) return true;
  if (now < settled_at_) return false;
  const absl::Duration since = now - last_commit_;
  if (since < interval() && !any_halted()) return false;
  const bool asked = asked_.load(std::memory_order_relaxed);
  bool progress = false;
  for (const auto& [partition, seat] : seats_) {
    if (seat.task->has_told() || seat.task->has_work()) return true;
    if (asked && seat.task->has_touched()) return true;
    progress = progress || seat.task->has_progress();
  }
  return progress && since >= options_.progress_interval;
}

bool Worker::any_halted() const {
  return std::any_of(seats_.begin(), seats_.end(), [](const auto& partition_and_seat) {
    const Task& task = *partition_and_seat.second.task;
    return task.running() && task.halted();
  });
}

bool Worker::commit(absl::Span<const Partition> everything) {
  const absl::Duration began = clock_.monotonic();
  std::vector<std::pair<Partition, Offset>> offsets;
  std::vector<Partition> parts;
  for (auto& [partition, seat] : seats_) {
    const bool all = std::find(everything.begin(), everything.end(), partition) != everything.end();
    Task& task = *seat.task;
    if (!task.running() || !(task.has_progress() || (all && !task.saved()))) continue;
    task.save(step_, began, all);
    offsets.emplace_back(partition, task.position());
    parts.push_back(partition);
  }
  last_commit_ = began;
  if (step_.empty()) return true;

  std::string why;
  CommitResult result;
  {
    const BrokerWait::Call waiting(broker_wait_);
    result = step_.commit(offsets, &why);
  }
  const absl::Duration now = clock_.monotonic();
  metrics_.commit.record(absl::ToInt64Microseconds(now - began));
  if (result != CommitResult::kCommitted) {
    drop_all(fmt::format("{}: {}", Name(result), why));
    return false;
  }
  metrics_.commits.add(1);
  if (step_began_) metrics_.step.record(absl::ToInt64Microseconds(now - *step_began_));
  step_began_.reset();
  failures_ = 0;
  settled_at_ = now + options_.settle_time;
  step_.hold();
  for (Partition partition : parts) {
    Seat& seat = seats_.at(partition);
    const auto before = seat.task->statuses();
    seat.task->committed();
    if (seat.task->statuses() != before || seat.definitions_end != seat.task->definitions_end()) {
      post(partition, seat);
    }
  }
  return true;
}

void Worker::post(Partition partition, Seat& seat) {
  const Task& task = *seat.task;
  if (task.running() || task.state() == TaskState::kReplaying) {
    seat.definitions_end = task.definitions_end();
  }
  board_.post(partition, {.worker = this,
                          .state = task.state(),
                          .failure = std::string(task.failure().message()),
                          .definitions = task.statuses(),
                          .definitions_end = seat.definitions_end});
}

// --- Questions.

std::shared_ptr<Listing> Worker::begin_listing(const Task& task, std::string segment_id) {
  auto listing = std::make_shared<Listing>(task, std::move(segment_id));
  forget_ended_listings();
  listings_.emplace_back(task.partition(), listing);
  return listing;
}

void Worker::note(const Write& change) {
  forget_ended_listings();
  const Task* task = running(change.partition);
  for (const auto& [partition, listing] : listings_) {
    if (partition != change.partition || task == nullptr) continue;
    if (const std::shared_ptr<Listing> kept = listing.lock()) kept->note(*task, change);
  }
}

void Worker::forget_ended_listings() {
  std::erase_if(listings_, [](const auto& listing) { return listing.second.expired(); });
}

void Worker::answer() {
  for (const auto& [partition, seat] : seats_) {
    if (seat.task->has_told() || seat.task->has_touched()) return;  // Until it is committed.
  }
  std::deque<Question> questions;
  {
    const std::scoped_lock lock(mutex_);
    questions.swap(questions_);
    asked_ = false;
  }
  if (questions.empty()) return;
  asked_at_ = clock_.monotonic();
  for (const Question& question : questions) question(*this);
  metrics_.queries.add(static_cast<int64_t>(questions.size()));
}

absl::Duration Worker::wait(absl::Duration now) const {
  if (more_due_) return absl::ZeroDuration();
  absl::Duration wait = now - asked_at_ < kAskedLately ? kAskedWait : kIdleWait;
  for (const auto& [partition, seat] : seats_) {
    if (seat.task->has_told() || seat.task->has_work()) {
      const absl::Duration until_next = seat.task->halted() ? absl::ZeroDuration() : interval();
      wait = std::min(wait, std::max(last_commit_ + until_next, settled_at_) - now);
    }
  }
  return std::max(wait, absl::ZeroDuration());
}

}  // namespace segmentd
