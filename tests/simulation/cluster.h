// A Kafka cluster in memory: the input, three transactional output topics, a consumer group and
// transactional producers, as far as segmentd can tell the difference.
//
// What it models: markers take offsets; a reader with read_committed stops at the first open
// transaction; markers reach the partitions one after the other, so a commit may show in one topic
// and not yet in another; a transaction that nobody ends is aborted after a time; an EndTxn may
// arrive late; a producer with a known name fences the one before; the group refuses offsets of
// members it has given up. Producers are killed by Crash, thrown from within any call.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "stream/io.h"
#include "tests/simulation/random.h"

namespace segmentd::simulation {

// The process ends here.
struct Crash {};

struct InputRecord {
  bool has_key = true;
  std::string key;
  std::string value;
  Time record_time;
  // Of what outlives the cluster.
  std::vector<HeaderView> headers;
};

struct OutputRecord {
  bool has_key = true;
  std::string key;
  // Absent: a tombstone.
  std::optional<std::string> value;
  std::vector<std::pair<std::string, std::string>> headers;
  size_t transaction = 0;
};

using Topic = Write::Topic;

// How often things go wrong, in 10,000 calls.
struct Faults {
  int64_t crash = 0;
  int64_t write_error = 0;
  int64_t abort = 0;
  int64_t unknown = 0;
  int64_t call_error = 0;
  int64_t late_marker = 0;
};

class Cluster {
 public:
  Cluster(int32_t partitions, uint64_t seed) : random(seed), partitions_(partitions) {
    for (Partition p = 0; p < partitions; ++p) input_[p];
  }

  Random random;
  Faults faults;
  // Records of a history's batch, at most.
  int64_t history_rate = 30;
  // Only the test moves the wall clock.
  bool wall_stands = false;
  Time wall = Time::Millis(1'790'000'000'000);
  absl::Duration monotonic = absl::ZeroDuration();
  void pass(Duration time) {
    wall = wall + time;
    monotonic += absl::Milliseconds(time.millis());
  }

  // As pass(), but of somebody who waits.
  void wait(Duration time) {
    if (!wall_stands) wall = wall + time;
    monotonic += absl::Milliseconds(time.millis());
  }

  int32_t partitions() const { return partitions_; }

  // --- Input. Null: a transaction marker's offset.
  using Input = std::deque<std::optional<InputRecord>>;
  void append(Partition partition, std::optional<InputRecord> record) {
    input_[partition].push_back(std::move(record));
  }
  const Input& input(Partition partition) const { return input_.at(partition); }
  Input& input_for_damage(Partition partition) { return input_[partition]; }
  // The records before `offset` were deleted by retention.
  void set_first(Partition partition, int64_t offset) { first_[partition] = offset; }
  int64_t first(Partition partition) const {
    const auto it = first_.find(partition);
    return it == first_.end() ? 0 : it->second;
  }

  // --- Output, as a reader with read_committed sees it.
  std::vector<const OutputRecord*> read_committed(Topic topic, Partition partition) const;
  // A transaction with records there is open, or its marker is on its way.
  bool undecided(Topic topic, Partition partition) const;
  // No transaction is open anywhere, no marker on its way.
  bool settled() const;
  // For tests of damage.
  std::deque<OutputRecord>& log(Topic topic, Partition partition) {
    return output_[{topic, partition}];
  }

  // --- Transactions.
  struct Session {
    std::string name;
    int epoch = 0;
  };
  Session open_session(const std::string& name);
  bool fenced(const Session& session) const;
  size_t begin(const Session& session);
  void write(size_t transaction, const Write& write);
  // False when the group has given the member up.
  bool send_offsets(size_t transaction, const std::string& member,
                    absl::Span<const std::pair<Partition, Offset>> offsets);
  void end(size_t transaction, bool commit);
  // The EndTxn is on its way.
  void end_later(size_t transaction, bool commit);
  bool open(size_t transaction) const { return transactions_[transaction].state == State::kOpen; }

  // --- The group.
  void join(const std::string& member);
  // The member has left, or was given up: others get its partitions.
  void leave(const std::string& member);
  bool is_member(const std::string& member) const { return members_.count(member) != 0; }
  const std::set<std::string>& members() const { return members_; }
  // Who should have the partition, and who has it.
  std::string target(Partition partition) const;
  std::string owner(Partition partition) const;
  void take(Partition partition, const std::string& member) { owners_[partition] = member; }
  void yield(Partition partition, const std::string& member);
  // Others than before should have some partitions.
  void rebalance();
  // UNAVAILABLE while a transaction with the partition's offset is undecided.
  absl::StatusOr<std::optional<Offset>> committed(Partition partition) const;
  // As an operator does, while nobody is in the group.
  void move_committed(Partition partition, Offset offset) { offsets_[partition] = offset; }
  // As when the group was deleted or has expired.
  void forget_committed(Partition partition) { offsets_.erase(partition); }

  // What is on its way arrives, or not yet; transactions grow old.
  void tick();

 private:
  enum class State { kOpen, kCommitted, kAborted };
  struct Transaction {
    Session session;
    State state = State::kOpen;
    Time began;
    std::map<Partition, Offset> offsets;
    std::optional<bool> end_on_its_way;
    // Partitions whose marker is not written yet.
    std::set<std::pair<Topic, Partition>> written;
    std::set<std::pair<Topic, Partition>> unmarked;
  };

  int32_t partitions_;
  std::map<Partition, Input> input_;
  std::map<Partition, int64_t> first_;
  std::map<std::pair<Topic, Partition>, std::deque<OutputRecord>> output_;
  std::vector<Transaction> transactions_;
  std::map<std::string, int> epochs_;
  std::map<Partition, Offset> offsets_;
  std::set<std::string> members_;
  std::map<Partition, std::string> targets_;
  std::map<Partition, std::string> owners_;
};

}  // namespace segmentd::simulation
