// All workers of the process. A question about a user goes to the worker that runs the user's
// partition; one about a segment goes to all.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "state/estimates.h"
#include "state/queries.h"
#include "stream/io.h"
#include "stream/metrics.h"
#include "stream/task_board.h"
#include "stream/worker.h"

namespace segmentd {

struct InstanceOptions {
  WorkerOptions worker;
  // Of the events topic.
  int32_t partitions = 1;
  // How long a step may wait for the broker before questions to its worker are turned away and the
  // instance is not ready. An election of leaders mostly takes less, and half of the time that a
  // call may take is left.
  absl::Duration broker_patience = absl::Seconds(5);
};

// Any thread may call, but for start() and stop().
class StreamInstance final : public Queries, public Estimates {
 public:
  // What one worker has of Kafka; used by its thread only.
  struct Io {
    std::unique_ptr<Source> source;
    std::unique_ptr<Transactions> transactions;
    std::unique_ptr<Changelog> changelog;
    // Used by the thread that reads histories.
    std::unique_ptr<HistorySource> history;
  };

  // One worker for each of `ios`. The clock outlives the instance.
  StreamInstance(InstanceOptions options, std::vector<Io> ios, Clock& clock);
  ~StreamInstance() override;

  // Starts the threads. The definitions are known by then: those that are there at the first start
  // hold from the first record on.
  void start();
  // Saves, commits and releases everything; returns when the threads have ended.
  void stop();

  // The segments that should run: what the definitions topic holds before `end`.
  void want(const WantedDefinitions& definitions, Offset end = Offset());

  // Whether the group has given out its partitions since the start: every worker was told what is
  // its own, and none has so much more than another that the next rebalance is at hand. Workers
  // join one after another, so until then partitions run that will move at once. True for good.
  bool assigned() const;

  const TaskBoard& board() const { return board_; }
  // The partitions whose worker has waited for the broker beyond patience.
  std::vector<Partition> held_up() const;
  // By worker.
  std::vector<const WorkerMetrics*> worker_metrics() const;

  absl::StatusOr<std::vector<std::vector<Membership>>> MembershipsOf(
      const std::vector<std::string>& users, absl::Time deadline) override;
  absl::Status ListMembers(
      std::string_view segment_id, absl::Time deadline,
      absl::FunctionRef<void(const std::map<int32_t, int64_t>& next_change)> begin,
      absl::FunctionRef<bool(std::vector<std::string> users)> portion) override;
  absl::StatusOr<std::vector<int64_t>> CountMembers(const std::vector<std::string>& segment_ids,
                                                    absl::Time deadline) override;
  absl::StatusOr<segments::v1::Explanation> Explain(std::string_view segment_id,
                                                    std::string_view user,
                                                    absl::Time deadline) override;

  absl::Status estimate(const segments::v1::Segment& segment,
                        const std::function<bool(double progress)>& report, int64_t* members,
                        int64_t* users) override;

 private:
  // The workers of all partitions. UNAVAILABLE while some do not run here: which, and that `what`
  // needs them all.
  absl::StatusOr<std::map<Partition, Worker*>> all_running(std::string_view what) const;
  absl::StatusOr<Worker*> running(Partition partition) const;

  InstanceOptions options_;
  TaskBoard board_;
  std::vector<Io> ios_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stopping_{false};
  mutable std::atomic<bool> assigned_{false};
};

}  // namespace segmentd
