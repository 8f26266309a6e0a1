// A listing is what the changes before its number give, whatever happens while it is read.

#include "stream/listing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "spdlog/spdlog.h"

#include "segment/definition_text.h"
#include "stream/change_codec.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/process.h"

namespace segmentd::simulation {
namespace {

using segments::v1::Segment;

constexpr int64_t kUsers = 40;
constexpr const char* kRules[] = {
    "live: { actions: { any_of: [ { event: In } ] }, exit: { on: [ { event: Out } ] } }",
    "live: { actions: { any_of: [ { event: In } ] }, exit: { after: 2s } }",
    "past_behavior: { did: { event: In, within_last: 3s } }",
};

Segment Make(const std::string& id, int64_t version, size_t rule) {
  const auto documents =
      ReadSegmentDocuments(fmt::format("id: {}\nname: The {}\n{}\n", id, id, kRules[rule]));
  EXPECT_TRUE(documents.ok() && documents->at(0).violations.empty()) << kRules[rule];
  Segment segment = documents->at(0).segment;
  segment.set_version(version);
  return segment;
}

// One run: segments "s" and "s-two", events, edits, deletions and failures by chance.
class Life {
 public:
  explicit Life(uint64_t seed) : cluster_(1, seed), random_(cluster_.random) {
    options_.restore_in_background = false;
    options_.backfill.background = false;
    options_.task.users_built_per_step = 3;
    options_.task.users_scanned_per_step = 7;
    if (random_.percent(50)) options_.task.output_format = ChangeFormat::kProtobuf;
    process_ = std::make_unique<Process>(cluster_, "one", options_);
    process_->worker().want(wanted_);
  }

  // Listings that were compared, and members in them that were none any more when they were read.
  int compared = 0;
  int left = 0;

  void go() {
    for (int round = 0; round < 400; ++round) {
      for (int64_t n = random_.below(6); n > 0; --n) append();
      if (random_.percent(8)) edit();
      cluster_.faults.abort = random_.percent(5) ? 2'000 : 0;
      cluster_.faults.call_error = 0;
      turn();
      if (!listing_ && random_.percent(20)) begin();
      if (listing_ && random_.percent(40)) go_on();
    }
  }

 private:
  void append() {
    static constexpr const char* kEvents[] = {"In", "Out", "Other"};
    const std::string user = fmt::format("u{}", random_.below(kUsers));
    cluster_.append(
        0,
        InputRecord{
            .key = user,
            .value = fmt::format(
                R"({{"type":"track","userId":"{}","messageId":"m{}","event":"{}","timestamp":{}}})",
                user, ++sent_, kEvents[random_.below(3)], cluster_.wall.millis()),
            .record_time = cluster_.wall});
  }
  void turn() {
    process_->worker().turn();
    cluster_.tick();
    cluster_.pass(Duration::Millis(random_.between(1, 200)));
  }
  // Another rule, a shadow or none any more, gone and back again.
  void edit() {
    std::vector<Segment> segments = *wanted_;
    const std::string id = random_.percent(70) ? "s" : "s-two";
    const auto found = std::find_if(segments.begin(), segments.end(),
                                    [&](const Segment& segment) { return segment.id() == id; });
    if (found == segments.end()) {
      segments.push_back(Make(id, ++version_, static_cast<size_t>(random_.below(3))));
      segments.back().set_shadow(random_.percent(30));
    } else if (random_.percent(30)) {
      segments.erase(found);
    } else {
      const size_t rule = found->has_past_behavior() ? 2 : static_cast<size_t>(random_.below(2));
      const bool shadow = found->shadow() && random_.percent(20);
      *found = Make(id, ++version_, rule);
      found->set_shadow(shadow);
    }
    wanted_ = std::make_shared<const std::vector<Segment>>(std::move(segments));
    process_->worker().want(wanted_);
  }
  // Calls `question` between steps, with the task where it runs.
  template <typename Function>
  void ask(Function question) {
    bool answered = false;
    ASSERT_TRUE(process_->worker().ask([&](Worker& worker) {
      answered = true;
      if (const Task* task = worker.running(0)) question(worker, *task);
    }));
    for (int n = 0; !answered; ++n) {
      ASSERT_LT(n, 10'000) << "nobody answers";
      turn();
    }
  }
  void begin() {
    ask([&](Worker& worker, const Task& task) {
      // Of a shadow nobody is told.
      for (const auto& [slot, definition] : task.definitions().by_slot()) {
        if (definition.segment().id() == "s" && definition.segment().shadow()) return;
      }
      listing_ = worker.begin_listing(task, "s");
      listed_.clear();
    });
  }
  void go_on() {
    ask([&](Worker&, const Task& task) {
      const size_t before = listed_.size();
      const auto end =
          listing_->go_on(task, static_cast<UserIndex>(random_.between(1, 15)), &listed_);
      if (!end.ok()) {
        EXPECT_EQ(end.status().code(), absl::StatusCode::kAborted) << end.status();
        listing_.reset();
        return;
      }
      const ActiveSegment* segment = task.engine().rules().find("s");
      for (size_t i = before; i < listed_.size(); ++i) {
        if (!segment || !IsMember(task.users().find(listed_[i])->state, segment->slot)) ++left;
      }
      if (!*end) return;
      compare();
      listing_.reset();
    });
  }
  void compare() {
    std::set<std::string> members;
    int64_t number = 0;
    for (const OutputRecord* record : cluster_.read_committed(Topic::kChanges, 0)) {
      if (number++ == listing_->next_change()) break;
      const auto change = DecodeChange(*record->value);
      ASSERT_TRUE(change.ok());
      if (change->segment_id() != "s") continue;
      if (change->action() == segments::v1::ADD) members.insert(change->user_id());
      if (change->action() == segments::v1::REMOVE) members.erase(change->user_id());
    }
    EXPECT_THAT(listed_, ::testing::UnorderedElementsAreArray(members));
    ++compared;
  }

  Cluster cluster_;
  Random& random_;
  WorkerOptions options_;
  WantedDefinitions wanted_ =
      std::make_shared<const std::vector<Segment>>(std::vector<Segment>{Make("s", 1, 0)});
  std::unique_ptr<Process> process_;
  int64_t version_ = 1;
  int sent_ = 0;
  std::shared_ptr<Listing> listing_;
  std::vector<std::string> listed_;
};

TEST(Listing, IsWhatTheChangesBeforeItGive) {
  spdlog::set_level(spdlog::level::off);
  const char* given = std::getenv("SEGMENTD_SEED");
  const uint64_t first = given ? std::strtoull(given, nullptr, 10) : 1;
  int compared = 0;
  int left = 0;
  for (uint64_t seed = first; seed < first + (given ? 1 : 60); ++seed) {
    SCOPED_TRACE(fmt::format("SEGMENTD_SEED={}", seed));
    Life life(seed);
    life.go();
    compared += life.compared;
    left += life.left;
    if (::testing::Test::HasFailure()) return;
  }
  if (given) return;
  EXPECT_GT(compared, 200);
  EXPECT_GT(left, 100);
}

}  // namespace
}  // namespace segmentd::simulation
