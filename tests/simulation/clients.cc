#include "tests/simulation/clients.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace segmentd::simulation {
namespace {

// A call that a real client refuses: the worker is wrong.
void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "misuse of Kafka: %s\n", what);
  std::abort();
}

void MaybeCrash(Cluster& cluster) {
  if (cluster.random.in_10000(cluster.faults.crash)) throw Crash();
}

absl::Status MaybeError(Cluster& cluster) {
  if (!cluster.random.in_10000(cluster.faults.call_error)) return absl::OkStatus();
  return absl::UnavailableError("simulated error");
}

// Valid as long as the cluster.
Record Delivered(Partition partition, int64_t offset, const InputRecord& record) {
  return {.partition = partition,
          .offset = Offset(offset),
          .record_time = record.record_time,
          .has_key = record.has_key,
          .key = record.key,
          .value = record.value,
          .headers = record.headers};
}

}  // namespace

SimulatedSource::SimulatedSource(Cluster& cluster, std::string member)
    : cluster_(cluster), member_(std::move(member)) {
  // A process of the same name that the group has not given up yet has left nothing to this one.
  cluster_.leave(member_);
  cluster_.join(member_);
}

absl::Status SimulatedSource::start(Partition partition, Offset from) {
  MaybeCrash(cluster_);
  if (absl::Status status = MaybeError(cluster_); !status.ok()) return status;
  const auto it = given_.find(partition);
  Require(it != given_.end(), "start() of a partition that was not given");
  Require(
      from.value() >= 0 && from.value() <= static_cast<int64_t>(cluster_.input(partition).size()),
      "start() at an offset that is not held");
  it->second = from;
  return absl::OkStatus();
}

void SimulatedSource::take_part() {
  if (!cluster_.is_member(member_)) {
    std::vector<Partition> lost;
    for (const auto& [partition, position] : given_) lost.push_back(partition);
    given_.clear();
    if (!lost.empty()) listener_.lost(lost);
    cluster_.join(member_);
  }
  std::vector<Partition> revoked;
  for (const auto& [partition, position] : given_) {
    if (cluster_.target(partition) != member_) revoked.push_back(partition);
  }
  if (!revoked.empty()) {
    listener_.revoked(revoked);
    for (Partition partition : revoked) {
      given_.erase(partition);
      cluster_.yield(partition, member_);
    }
  }
  std::vector<Partition> given;
  for (Partition p = 0; p < cluster_.partitions(); ++p) {
    if (cluster_.target(p) == member_ && cluster_.owner(p).empty()) {
      cluster_.take(p, member_);
      given_[p] = std::nullopt;
      given.push_back(p);
    }
  }
  if (!given.empty()) listener_.given(given);
}

absl::StatusOr<const Batch*> SimulatedSource::poll(absl::Duration wait) {
  Random& random = cluster_.random;
  MaybeCrash(cluster_);
  if (absl::Status status = MaybeError(cluster_); !status.ok()) return status;
  take_part();

  batch_.records.clear();
  batch_.ends.clear();
  const Time asked_at = cluster_.wall;
  for (auto& [partition, position] : given_) {
    if (!position || random.percent(30)) continue;
    const Cluster::Input& input = cluster_.input(partition);
    const auto end = static_cast<int64_t>(input.size());
    const int64_t until = std::min(end, position->value() + random.between(0, 30));
    for (int64_t i = position->value(); i < until; ++i) {
      const std::optional<InputRecord>& record = input[static_cast<size_t>(i)];
      if (!record) continue;
      batch_.records.push_back(Delivered(partition, i, *record));
    }
    position = Offset(until);
    if (until == end && random.percent(70)) batch_.ends.push_back({partition, *position, asked_at});
  }
  if (batch_.records.empty()) {
    const int64_t most = std::max<int64_t>(absl::ToInt64Milliseconds(wait), 0);
    cluster_.wait(Duration::Millis(random.between(0, most)));
  }
  return &batch_;
}

absl::StatusOr<std::pair<Offset, Offset>> SimulatedSource::bounds(Partition partition) {
  MaybeCrash(cluster_);
  if (absl::Status status = MaybeError(cluster_); !status.ok()) return status;
  return std::make_pair(Offset(cluster_.first(partition)),
                        Offset(static_cast<int64_t>(cluster_.input(partition).size())));
}

std::optional<Offset> SimulatedSource::known_end(Partition partition) {
  return Offset(static_cast<int64_t>(cluster_.input(partition).size()));
}

absl::StatusOr<std::optional<Offset>> SimulatedSource::committed(Partition partition) {
  MaybeCrash(cluster_);
  if (absl::Status status = MaybeError(cluster_); !status.ok()) return status;
  return cluster_.committed(partition);
}

SimulatedTransactions::SimulatedTransactions(Cluster& cluster, std::string member)
    : cluster_(cluster), member_(std::move(member)), session_(cluster.open_session(member_)) {}

absl::Status SimulatedTransactions::begin() {
  Require(!spent_, "begin() without the renew() that is owed");
  Require(!transaction_, "begin() within a transaction");
  MaybeCrash(cluster_);
  if (absl::Status status = MaybeError(cluster_); !status.ok()) {
    spent_ = true;
    return status;
  }
  transaction_ = cluster_.begin(session_);
  return absl::OkStatus();
}

absl::Status SimulatedTransactions::write(const Write& write) {
  Require(transaction_ && !spent_, "write() outside a transaction");
  MaybeCrash(cluster_);
  if (cluster_.random.in_10000(cluster_.faults.write_error) || cluster_.fenced(session_) ||
      !cluster_.open(*transaction_)) {
    spent_ = true;
    return absl::UnavailableError("simulated error of a write");
  }
  cluster_.write(*transaction_, write);
  return absl::OkStatus();
}

CommitResult SimulatedTransactions::commit(
    absl::Span<const std::pair<Partition, Offset>> input_offsets, std::string* why) {
  Require(transaction_ && !spent_, "commit() outside a transaction");
  Require(!input_offsets.empty(), "commit() without offsets fences nobody");
  Random& random = cluster_.random;
  const size_t transaction = *transaction_;
  transaction_.reset();
  // Until it is known better.
  spent_ = true;
  *why = "simulated";
  MaybeCrash(cluster_);
  if (cluster_.fenced(session_) || !cluster_.open(transaction)) return CommitResult::kFenced;
  if (random.in_10000(cluster_.faults.abort)) {
    cluster_.end(transaction, false);
    return CommitResult::kAborted;
  }
  if (!cluster_.send_offsets(transaction, member_, input_offsets)) {
    cluster_.end(transaction, false);
    return CommitResult::kFenced;
  }
  MaybeCrash(cluster_);
  if (random.in_10000(cluster_.faults.unknown)) {
    switch (random.below(3)) {
      case 0:
        cluster_.end(transaction, true);
        break;
      case 1:
        cluster_.end_later(transaction, true);
        break;
      default:
        break;
    }
    return CommitResult::kUnknown;
  }
  cluster_.end(transaction, true);
  MaybeCrash(cluster_);
  spent_ = false;
  return CommitResult::kCommitted;
}

void SimulatedTransactions::abort() {
  Require(transaction_.has_value(), "abort() outside a transaction");
  cluster_.end(*transaction_, false);
  transaction_.reset();
  spent_ = true;
}

absl::Status SimulatedTransactions::renew() {
  Require(!transaction_, "renew() within a transaction");
  MaybeCrash(cluster_);
  if (absl::Status status = MaybeError(cluster_); !status.ok()) return status;
  session_ = cluster_.open_session(member_);
  spent_ = false;
  return absl::OkStatus();
}

absl::Status SimulatedChangelog::read(
    Partition partition,
    absl::FunctionRef<absl::Status(std::string_view key, std::optional<std::string_view> value)>
        record,
    absl::FunctionRef<void(int64_t offset, int64_t end)> progress) {
  MaybeCrash(cluster_);
  if (absl::Status status = MaybeError(cluster_); !status.ok()) return status;
  if (cluster_.undecided(Topic::kChangelog, partition)) {
    return absl::UnavailableError("an open transaction that nobody ends");
  }
  const auto records = cluster_.read_committed(Topic::kChangelog, partition);
  const auto end = static_cast<int64_t>(records.size());
  // Compaction may have been here: of a key only the latest record is sure to be left.
  std::map<std::string_view, size_t> latest;
  for (size_t i = 0; i < records.size(); ++i) latest[records[i]->key] = i;
  const bool compacted = cluster_.random.percent(50);
  const auto clean = static_cast<size_t>(cluster_.random.between(0, end));
  for (size_t i = 0; i < records.size(); ++i) {
    if (compacted && i < clean && latest[records[i]->key] != i) continue;
    std::optional<std::string_view> value;
    if (records[i]->value) value = *records[i]->value;
    if (absl::Status status = record(records[i]->key, value); !status.ok()) return status;
    progress(static_cast<int64_t>(i), end);
  }
  return absl::OkStatus();
}

absl::StatusOr<Offset> SimulatedHistory::open(Partition partition, Offset from) {
  MaybeCrash(cluster_);
  position_.reset();
  if (absl::Status status = MaybeError(cluster_); !status.ok()) return status;
  partition_ = partition;
  position_ = std::max(from, Offset(cluster_.first(partition)));
  return *position_;
}

absl::StatusOr<const Batch*> SimulatedHistory::poll(absl::Duration) {
  Require(position_.has_value(), "poll() of a history that is not open");
  MaybeCrash(cluster_);
  if (absl::Status status = MaybeError(cluster_); !status.ok()) {
    position_.reset();
    return status;
  }
  batch_.records.clear();
  batch_.ends.clear();
  const Cluster::Input& input = cluster_.input(partition_);
  const auto end = static_cast<int64_t>(input.size());
  const int64_t until =
      std::min(end, position_->value() + cluster_.random.between(0, cluster_.history_rate));
  for (int64_t i = position_->value(); i < until; ++i) {
    const std::optional<InputRecord>& record = input[static_cast<size_t>(i)];
    if (!record) continue;
    batch_.records.push_back(Delivered(partition_, i, *record));
  }
  position_ = Offset(until);
  if (until == end) batch_.ends.push_back({partition_, *position_, cluster_.wall});
  return &batch_;
}

}  // namespace segmentd::simulation
