#include "tests/simulation/cluster.h"

#include <algorithm>

namespace segmentd::simulation {
namespace {

constexpr Duration kTransactionTimeout = Duration::Seconds(10);

}  // namespace

std::vector<const OutputRecord*> Cluster::read_committed(Topic topic, Partition partition) const {
  std::vector<const OutputRecord*> records;
  const auto it = output_.find({topic, partition});
  if (it == output_.end()) return records;
  for (const OutputRecord& record : it->second) {
    const Transaction& transaction = transactions_[record.transaction];
    if (transaction.state == State::kOpen || transaction.unmarked.count({topic, partition}) != 0) {
      break;
    }
    if (transaction.state == State::kCommitted) records.push_back(&record);
  }
  return records;
}

bool Cluster::undecided(Topic topic, Partition partition) const {
  return std::any_of(transactions_.begin(), transactions_.end(), [&](const Transaction& t) {
    return t.state == State::kOpen ? t.written.count({topic, partition}) != 0
                                   : t.unmarked.count({topic, partition}) != 0;
  });
}

bool Cluster::settled() const {
  return std::all_of(transactions_.begin(), transactions_.end(), [](const Transaction& t) {
    return t.state != State::kOpen && t.unmarked.empty();
  });
}

Cluster::Session Cluster::open_session(const std::string& name) {
  const int epoch = ++epochs_[name];
  for (size_t i = 0; i < transactions_.size(); ++i) {
    if (transactions_[i].session.name == name && transactions_[i].state == State::kOpen) {
      end(i, false);
    }
  }
  return {name, epoch};
}

bool Cluster::fenced(const Session& session) const {
  return epochs_.at(session.name) != session.epoch;
}

size_t Cluster::begin(const Session& session) {
  Transaction transaction;
  transaction.session = session;
  transaction.began = wall;
  transactions_.push_back(std::move(transaction));
  return transactions_.size() - 1;
}

void Cluster::write(size_t transaction, const Write& write) {
  OutputRecord record;
  record.has_key = write.has_key;
  record.key = std::string(write.key);
  if (write.has_value) record.value = std::string(write.value);
  for (const HeaderView& header : write.headers) {
    record.headers.emplace_back(std::string(header.name), std::string(header.value));
  }
  record.transaction = transaction;
  output_[{write.topic, write.partition}].push_back(std::move(record));
  transactions_[transaction].written.insert({write.topic, write.partition});
}

bool Cluster::send_offsets(size_t transaction, const std::string& member,
                           absl::Span<const std::pair<Partition, Offset>> offsets) {
  if (!is_member(member)) return false;
  for (const auto& [partition, offset] : offsets) {
    if (owner(partition) != member) return false;
    transactions_[transaction].offsets[partition] = offset;
  }
  return true;
}

void Cluster::end(size_t index, bool commit) {
  Transaction& transaction = transactions_[index];
  if (transaction.state != State::kOpen) return;
  transaction.state = commit ? State::kCommitted : State::kAborted;
  if (commit) {
    for (const auto& [partition, offset] : transaction.offsets) offsets_[partition] = offset;
  }
  for (const auto& written : transaction.written) {
    if (random.in_10000(faults.late_marker)) transaction.unmarked.insert(written);
  }
}

void Cluster::end_later(size_t transaction, bool commit) {
  transactions_[transaction].end_on_its_way = commit;
}

void Cluster::join(const std::string& member) {
  members_.insert(member);
  rebalance();
}

void Cluster::leave(const std::string& member) {
  members_.erase(member);
  for (auto& [partition, owner] : owners_) {
    if (owner == member) owner.clear();
  }
  rebalance();
}

std::string Cluster::target(Partition partition) const {
  const auto it = targets_.find(partition);
  return it == targets_.end() ? "" : it->second;
}

std::string Cluster::owner(Partition partition) const {
  const auto it = owners_.find(partition);
  return it == owners_.end() ? "" : it->second;
}

void Cluster::yield(Partition partition, const std::string& member) {
  if (owners_[partition] == member) owners_[partition].clear();
}

void Cluster::rebalance() {
  for (Partition p = 0; p < partitions_; ++p) {
    if (members_.empty()) {
      targets_[p].clear();
      continue;
    }
    auto chosen = members_.begin();
    std::advance(chosen, random.below(static_cast<int64_t>(members_.size())));
    targets_[p] = *chosen;
  }
}

absl::StatusOr<std::optional<Offset>> Cluster::committed(Partition partition) const {
  for (const Transaction& transaction : transactions_) {
    if (transaction.state == State::kOpen && transaction.offsets.count(partition) != 0) {
      return absl::UnavailableError("unstable offset");
    }
  }
  const auto it = offsets_.find(partition);
  if (it == offsets_.end()) return std::optional<Offset>();
  return std::optional<Offset>(it->second);
}

void Cluster::tick() {
  for (size_t i = 0; i < transactions_.size(); ++i) {
    Transaction& transaction = transactions_[i];
    if (!transaction.unmarked.empty() && random.percent(50)) {
      transaction.unmarked.erase(transaction.unmarked.begin());
    }
    if (transaction.state != State::kOpen) continue;
    if (transaction.end_on_its_way && random.percent(30)) {
      end(i, !fenced(transaction.session) && *transaction.end_on_its_way);
    } else if (wall - transaction.began > kTransactionTimeout) {
      end(i, false);
    }
  }
}

}  // namespace segmentd::simulation
