// Definitions and input for simulations: short windows, few users, much that is late, twice or
// broken.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "stream/task.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/random.h"

namespace segmentd::simulation {

class Workload {
 public:
  // With `producer_times` records are stamped by producers whose clocks are wrong by seconds.
  Workload(uint64_t seed, bool producer_times);

  // What should run at present.
  WantedDefinitions definitions() const { return wanted_; }
  // The same without what stops a segment or its changes: neither shadows, pauses nor limits.
  WantedDefinitions plain_definitions() const;
  void use(WantedDefinitions definitions) { wanted_ = std::move(definitions); }
  // Creates, edits or deletes a segment.
  void change_definitions();

  // A record that arrives now, or one that is stamped with another time.
  void append(Cluster& cluster);

 private:
  void publish();
  segments::v1::Segment make(const std::string& id, int64_t version, bool past);
  segments::v1::Segment create(const std::string& id);
  std::string event(const std::string& user, Time now);

  Random random_;
  const bool producer_times_;
  const int64_t users_;
  // Event times are multiples of it, so that deadlines coincide.
  const int64_t grain_ms_;
  int64_t events_ = 0;
  int64_t created_ = 0;
  // Users and bodies that may come once more.
  std::deque<std::pair<std::string, std::string>> lately_;
  std::vector<segments::v1::Segment> segments_;
  WantedDefinitions wanted_;
};

}  // namespace segmentd::simulation
