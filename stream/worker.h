// A thread's share of the input: one Source, one Transactions, and the tasks of the partitions that
// the source is given. Nobody else touches their state.
//
// turn() is one round of the loop: poll, apply what came, fire what is due, commit when it is time,
// answer questions. A commit takes in all tasks that have got further. When it does not succeed,
// all memory is dropped and every task restored: what is committed is the truth.
//
// Questions are answered between steps, when no user's state has changed since the last commit, so
// the states in memory are the committed ones. A step with a question waiting is not a long one.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "stream/backfill.h"
#include "stream/broker_wait.h"
#include "stream/io.h"
#include "stream/listing.h"
#include "stream/metrics.h"
#include "stream/recovery.h"
#include "stream/step.h"
#include "stream/task.h"
#include "stream/task_board.h"

namespace segmentd {

struct WorkerOptions {
  TaskOptions task;
  // Asks the broker where the definitions topic ends. Called only when some task has run later
  // definitions than want() brought, again and with backoff where that is no answer; not set, those
  // are all there are.
  std::function<absl::StatusOr<Offset>()> definitions_end;
  // Of the input when the program started. One that was added since takes users from others,
  // without their states: then all tasks of the process fail.
  int32_t partitions = INT32_MAX;
  Step::Bounds step;
  // Between commits, when there is something to tell.
  absl::Duration commit_interval = absl::Milliseconds(10);
  // From a commit to the beginning of the next transaction: the broker still completes the one
  // before, and a transaction that comes too soon waits 20 ms.
  absl::Duration settle_time = absl::Milliseconds(5);
  // Between commits while a backlog is worked off: what is told is late anyway, and fewer commits
  // leave more time for the backlog.
  absl::Duration backlog_interval = absl::Milliseconds(100);
  // What deadlines put into a step at most while events come in live: many that fall due at once
  // are told over many short steps, so that events need not wait for a long one.
  int64_t wave_records = 4'000;
  // When there is only progress.
  absl::Duration progress_interval = absl::Seconds(1);
  // Time to save what a revoked partition has unsaved; what is left is read again by its next
  // owner.
  absl::Duration revoke_limit = absl::Seconds(20);
  // Tries to restore a task, and to poll, before it is FAILED. What passes by itself, such as a
  // broker that can't be reached, does not count.
  int attempts = 10;
  // Changelogs are read on a thread of their own, so that other tasks go on. Not in a simulation.
  bool restore_in_background = true;
  // How the past is read for segments that count it.
  Backfill::Options backfill;
};

class Worker {
 public:
  // Everything outlives the worker.
  Worker(const WorkerOptions& options, Source& source, Transactions& transactions,
         Changelog& changelog, HistorySource& history, Clock& clock, TaskBoard& board);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // One round; waits for input at most some milliseconds. False when there is no input to be had:
  // the caller pauses before the next round.
  bool turn();
  // Saves and commits everything. No turn() after it.
  void stop();

  // Any thread. What the definitions topic holds before `end`; taken up in the next turn.
  void want(WantedDefinitions definitions, Offset end = Offset());
  // Any thread. `question` is called between steps, or, without tasks, when the worker stops. False
  // when too many wait or the worker has stopped.
  using Question = std::function<void(Worker&)>;
  bool ask(Question question);

  // For questions. Null unless the task is RUNNING.
  const Task* running(Partition partition) const;
  // For questions: reads a partition's past for somebody who keeps what is returned until it is
  // done.
  std::shared_ptr<HistoryReading> read_history(HistoryRequest request) {
    TaskMetrics& metrics = board_.metrics(request.partition);
    return backfill_.begin(std::move(request), metrics);
  }

  // For questions: begins a listing, which goes on as long as somebody keeps it.
  std::shared_ptr<Listing> begin_listing(const Task& task, std::string segment_id);

  // Any thread. The group has said what is this worker's, be it nothing.
  bool assigned() const { return assigned_.load(std::memory_order_acquire); }
  const WorkerMetrics& metrics() const { return metrics_; }
  // Any thread. How long the present step has waited for the broker: until it is through, no
  // question is answered.
  absl::Duration broker_wait() const { return broker_wait_.so_far(); }

 private:
  struct Seat {
    std::unique_ptr<Task> task;
    // Of RESTORING: failed tries, waits for what passes, and when to try next.
    int tries = 0;
    int waits = 0;
    absl::Duration retry_at = absl::ZeroDuration();
    std::optional<Offset> committed;
    // Behind the last definition that its tasks have run; what is being restored does not know.
    Offset definitions_end;
    // When the input's end was last known.
    absl::Duration end_known_at = absl::ZeroDuration();
    // What the task wants of the past; they outlive a restore.
    std::vector<std::shared_ptr<HistoryReading>> readings;
  };
  // A changelog being read.
  struct Reading {
    Partition partition = 0;
    std::atomic<bool> cancelled{false};
    std::atomic<bool> done{false};
    absl::StatusOr<std::unique_ptr<Restored>> result;
    std::thread thread;
  };

  // Shows the changes that are written to the listings under way.
  class ListedTransactions final : public Transactions {
   public:
    ListedTransactions(Worker& worker, Transactions& inner) : worker_(worker), inner_(inner) {}
    absl::Status begin() override { return inner_.begin(); }
    absl::Status write(const Write& write) override {
      if (!worker_.listings_.empty() && write.topic == Write::Topic::kChanges) worker_.note(write);
      return inner_.write(write);
    }
    CommitResult commit(absl::Span<const std::pair<Partition, Offset>> input_offsets,
                        std::string* why) override {
      return inner_.commit(input_offsets, why);
    }
    void abort() override { inner_.abort(); }
    absl::Status renew() override { return inner_.renew(); }

   private:
    Worker& worker_;
    Transactions& inner_;
  };

  void fail_to_poll(const absl::Status& status);
  void give(const std::vector<Partition>& partitions);
  void revoke(const std::vector<Partition>& partitions);
  void lose(const std::vector<Partition>& partitions);
  void release(Partition partition);
  void new_task(Partition partition, Seat& seat);

  void take_up_definitions();
  // Where they end: no earlier than `run`, or those are lost. An error while that can't be told: it
  // is for the caller to come again.
  absl::StatusOr<Offset> definitions_end(Offset run);
  // Goes on with a failed transaction session, and with tasks to be restored.
  void recover();
  void read_changelog(Partition partition, Seat& seat);
  void finish_reading();
  absl::Status begin_task(Partition partition, Seat& seat, std::unique_ptr<Restored> restored);
  void retry_or_fail(Partition partition, Seat& seat, const absl::Status& status);

  // Takes the tasks' histories further.
  void read_histories();

  void note(const Write& change);
  void forget_ended_listings();

  // False when the batch must be left: the tasks were dropped.
  bool process(const Batch& batch);
  bool fire();
  // Of partitions that are not caught up, for the lag.
  void look_for_ends();
  bool commit_due(absl::Duration now) const;
  // Between commits, when there is something to tell.
  absl::Duration interval() const;
  // A task waits for a commit to go on.
  bool any_halted() const;
  // With everything of the partitions named. False when the tasks were dropped.
  bool commit(absl::Span<const Partition> everything = {});
  void save_everything(absl::Span<const Partition> partitions);
  // The input is not what it was at the start: no task goes on.
  void fail_all();
  // Memory is not what is committed: all tasks are restored.
  void drop_all(std::string_view why);
  void post(Partition partition, Seat& seat);
  void answer();
  absl::Duration wait(absl::Duration now) const;

  const WorkerOptions& options_;
  Source& source_;
  ListedTransactions transactions_;
  Changelog& changelog_;
  Clock& clock_;
  TaskBoard& board_;
  WorkerMetrics metrics_;
  BrokerWait broker_wait_;
  Backfill backfill_;

  std::atomic<bool> assigned_{false};
  std::map<Partition, Seat> seats_;
  // With their partitions.
  std::vector<std::pair<Partition, std::weak_ptr<Listing>>> listings_;
  Step step_;
  std::unique_ptr<Reading> reading_;

  // The last poll brought so much that there is more to come.
  bool behind_ = false;
  // Of the present round: when it began, and how long it waited for input.
  absl::Duration turn_began_ = absl::ZeroDuration();
  absl::Duration waited_ = absl::ZeroDuration();
  // Until then the step is held back.
  absl::Duration settled_at_ = -absl::InfiniteDuration();

  // The transaction session is to be renewed, not before `renew_at_`.
  bool renew_ = false;
  absl::Duration renew_at_ = absl::ZeroDuration();
  int failures_ = 0;
  int poll_failures_ = 0;

  absl::Duration last_commit_ = absl::ZeroDuration();
  absl::Duration ends_looked_at_ = absl::ZeroDuration();
  // Of the first record since the last commit.
  std::optional<absl::Duration> step_began_;
  bool more_due_ = false;
  bool commit_now_ = false;
  absl::Duration asked_at_ = -absl::InfiniteDuration();

  WantedDefinitions definitions_;
  Offset definitions_end_;
  // It is not known yet whether they are all that the running tasks have run.
  bool definitions_doubted_ = false;
  // The broker did not say where their topic ends, or said before what was run.
  struct Doubt {
    int asked = 0;
    // Of the answers.
    int too_low = 0;
    absl::Status why;
    // Not asked again before.
    absl::Duration until = -absl::InfiniteDuration();
  };
  Doubt doubt_;
  std::atomic<bool> wanted_changed_{false};
  // Guards what follows, up to stopped_.
  std::mutex mutex_;
  WantedDefinitions wanted_;
  Offset wanted_end_;
  std::deque<Question> questions_;
  // Whether there are any; read without the lock.
  std::atomic<bool> asked_{false};
  bool stopped_ = false;
};

}  // namespace segmentd
