// One segmentd process over the simulated cluster: a worker and what it needs.
#pragma once

#include <memory>
#include <string>

#include "stream/worker.h"
#include "tests/simulation/clients.h"
#include "tests/simulation/cluster.h"

namespace segmentd::simulation {

class Process {
 public:
  Process(Cluster& cluster, const std::string& name, WorkerOptions options)
      : options_(std::move(options)),
        clock_(cluster),
        source_(cluster, name),
        transactions_(cluster, name),
        changelog_(cluster),
        history_(cluster),
        worker_(options_, source_, transactions_, changelog_, history_, clock_, board_) {}

  Worker& worker() { return worker_; }
  const TaskBoard& board() const { return board_; }

 private:
  const WorkerOptions options_;
  SimulatedClock clock_;
  SimulatedSource source_;
  SimulatedTransactions transactions_;
  SimulatedChangelog changelog_;
  SimulatedHistory history_;
  TaskBoard board_;
  Worker worker_;
};

}  // namespace segmentd::simulation
