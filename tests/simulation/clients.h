// stream/io.h over the simulated cluster, as one process has it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "stream/io.h"
#include "tests/simulation/cluster.h"

namespace segmentd::simulation {

class SimulatedClock final : public Clock {
 public:
  explicit SimulatedClock(Cluster& cluster) : cluster_(cluster) {}
  Time wall() override { return cluster_.wall; }
  absl::Duration monotonic() override { return cluster_.monotonic; }

 private:
  Cluster& cluster_;
};

class SimulatedSource final : public Source {
 public:
  // Joins the group as `member`.
  SimulatedSource(Cluster& cluster, std::string member);

  void listen(Listener listener) override { listener_ = std::move(listener); }
  absl::Status start(Partition partition, Offset from) override;
  absl::StatusOr<const Batch*> poll(absl::Duration wait) override;
  absl::StatusOr<std::pair<Offset, Offset>> bounds(Partition partition) override;
  std::optional<Offset> known_end(Partition partition) override;
  absl::StatusOr<std::optional<Offset>> committed(Partition partition) override;

 private:
  void take_part();

  Cluster& cluster_;
  const std::string member_;
  Listener listener_;
  // Partitions that are this member's, as far as it knows; with the position once started.
  std::map<Partition, std::optional<Offset>> given_;
  Batch batch_;
};

class SimulatedTransactions final : public Transactions {
 public:
  SimulatedTransactions(Cluster& cluster, std::string member);

  absl::Status begin() override;
  absl::Status write(const Write& write) override;
  CommitResult commit(absl::Span<const std::pair<Partition, Offset>> input_offsets,
                      std::string* why) override;
  void abort() override;
  absl::Status renew() override;

 private:
  Cluster& cluster_;
  const std::string member_;
  Cluster::Session session_;
  std::optional<size_t> transaction_;
  // renew() is owed.
  bool spent_ = false;
};

class SimulatedChangelog final : public Changelog {
 public:
  explicit SimulatedChangelog(Cluster& cluster) : cluster_(cluster) {}

  absl::Status read(
      Partition partition,
      absl::FunctionRef<absl::Status(std::string_view key, std::optional<std::string_view> value)>
          record,
      absl::FunctionRef<void(int64_t offset, int64_t end)> progress) override;

 private:
  Cluster& cluster_;
};

class SimulatedHistory final : public HistorySource {
 public:
  explicit SimulatedHistory(Cluster& cluster) : cluster_(cluster) {}

  absl::StatusOr<Offset> open(Partition partition, Offset from) override;
  absl::StatusOr<const Batch*> poll(absl::Duration wait) override;
  void close() override { position_.reset(); }

 private:
  Cluster& cluster_;
  Partition partition_ = 0;
  std::optional<Offset> position_;
  Batch batch_;
};

}  // namespace segmentd::simulation
