// Questions to an instance whose worker runs in a thread of its own.

#include "stream/instance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "fmt/format.h"
#include "spdlog/spdlog.h"

#include "segment/definition_text.h"
#include "stream/partitioner.h"
#include "tests/simulation/clients.h"
#include "tests/simulation/cluster.h"

namespace segmentd::simulation {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int32_t kPartitions = 3;

absl::Time Soon() {
  return absl::Now() + absl::Seconds(60);
}

std::vector<std::string> Ids(const std::vector<Queries::Membership>& memberships) {
  std::vector<std::string> ids;
  ids.reserve(memberships.size());
  for (const Queries::Membership& membership : memberships) ids.push_back(membership.segment_id);
  return ids;
}

// Of a broker that stops to answer: commits hang until it goes on.
class HangingTransactions final : public Transactions {
 public:
  explicit HangingTransactions(Cluster& cluster) : inner_(cluster, "one") {}

  // Returns when a commit hangs.
  void hang() {
    std::unique_lock lock(mutex_);
    hang_ = true;
    changed_.wait(lock, [&] { return hangs_; });
  }
  void go_on() {
    const std::scoped_lock lock(mutex_);
    hang_ = false;
    changed_.notify_all();
  }

  absl::Status begin() override { return inner_.begin(); }
  absl::Status write(const Write& write) override { return inner_.write(write); }
  CommitResult commit(absl::Span<const std::pair<Partition, Offset>> input_offsets,
                      std::string* why) override {
    {
      std::unique_lock lock(mutex_);
      hangs_ = hang_;
      changed_.notify_all();
      changed_.wait(lock, [&] { return !hang_; });
      hangs_ = false;
    }
    return inner_.commit(input_offsets, why);
  }
  void abort() override { inner_.abort(); }
  absl::Status renew() override { return inner_.renew(); }

 private:
  SimulatedTransactions inner_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool hang_ = false;
  bool hangs_ = false;
};

class InstanceTest : public ::testing::Test {
 protected:
  InstanceTest() {
    spdlog::set_level(spdlog::level::off);
    const auto documents = ReadSegmentDocuments(
        "id: a\nname: A\nlive: { actions: { any_of: [ { event: A } ] } }\n---\n"
        "id: b\nname: B\nlive: { actions: { any_of: [ { event: B } ] } }\n");
    auto wanted = std::make_shared<std::vector<segments::v1::Segment>>();
    for (const SegmentDocument& document : *documents) {
      wanted->push_back(document.segment);
      wanted->back().set_version(1);
    }
    wanted_ = wanted;
  }
  // The cluster is the worker's thread's once this has run.
  void start(bool source_is_dead = false) {
    InstanceOptions options;
    options.partitions = kPartitions;
    // The simulated cluster is for one thread.
    options.worker.restore_in_background = false;
    options.worker.backfill.background = false;
    std::vector<StreamInstance::Io> ios(1);
    ios[0].source = std::make_unique<SimulatedSource>(cluster_, "one");
    options.broker_patience = broker_patience_;
    auto transactions = std::make_unique<HangingTransactions>(cluster_);
    transactions_ = transactions.get();
    ios[0].transactions = std::move(transactions);
    ios[0].changelog = std::make_unique<SimulatedChangelog>(cluster_);
    ios[0].history = std::make_unique<SimulatedHistory>(cluster_);
    if (source_is_dead) cluster_.faults.call_error = 10'000;
    instance_ = std::make_unique<StreamInstance>(options, std::move(ios), clock_);
    instance_->want(wanted_);
    instance_->start();
  }
  // Waits for all that was appended to be applied.
  void wait_for_members(const std::string& segment, int64_t members) {
    const absl::Time until = Soon();
    for (;;) {
      const auto counts = instance_->CountMembers({segment}, until);
      if (counts.ok() && (*counts)[0] == members) return;
      ASSERT_LT(absl::Now(), until) << "no " << members << " members of " << segment;
    }
  }
  void append(Partition partition, const std::string& user, const std::string& event) {
    cluster_.append(
        partition, InputRecord{.key = user,
                               .value = fmt::format(
                                   R"({{"type":"track","userId":"{}","event":"{}"}})", user, event),
                               .record_time = cluster_.wall});
  }
  void append(const std::string& user, const std::string& event) {
    append(PartitionOf(user, kPartitions), user, event);
  }

  Cluster cluster_{kPartitions, 1};
  SimulatedClock clock_{cluster_};
  WantedDefinitions wanted_;
  absl::Duration broker_patience_ = absl::Hours(1);
  HangingTransactions* transactions_ = nullptr;
  std::unique_ptr<StreamInstance> instance_;
};

TEST_F(InstanceTest, AnswersFromAllPartitions) {
  std::vector<std::string> users;
  users.reserve(50);
  for (int i = 0; i < 50; ++i) users.push_back(fmt::format("user-{}", i));
  for (const std::string& user : users) append(user, "A");
  append("user-7", "B");
  start();
  EXPECT_TRUE(instance_->board().wait_applied("b", 1, Soon()));
  wait_for_members("a", 50);
  wait_for_members("b", 1);

  const auto memberships = instance_->MembershipsOf({"user-7", "nobody", "user-8"}, Soon());
  ASSERT_TRUE(memberships.ok()) << memberships.status();
  EXPECT_THAT(Ids((*memberships)[0]), ElementsAre("a", "b"));
  EXPECT_THAT((*memberships)[1], IsEmpty());
  EXPECT_THAT(Ids((*memberships)[2]), ElementsAre("a"));

  std::map<int32_t, int64_t> next_change;
  std::vector<std::string> listed;
  const absl::Status status = instance_->ListMembers(
      "a", Soon(), [&](const std::map<int32_t, int64_t>& next) { next_change = next; },
      [&](std::vector<std::string> portion) {
        listed.insert(listed.end(), portion.begin(), portion.end());
        return true;
      });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(listed, ::testing::UnorderedElementsAreArray(users));
  EXPECT_EQ(next_change.size(), 3u);
  EXPECT_EQ(next_change[0] + next_change[1] + next_change[2], 51);

  const auto why = instance_->Explain("b", "user-7", Soon());
  ASSERT_TRUE(why.ok()) << why.status();
  EXPECT_TRUE(why->member());
  EXPECT_EQ(why->user_id(), "user-7");
  EXPECT_EQ(why->segment_id(), "b");
  const auto not_in = instance_->Explain("b", "nobody", Soon());
  ASSERT_TRUE(not_in.ok()) << not_in.status();
  EXPECT_FALSE(not_in->member());
  EXPECT_EQ(instance_->Explain("c", "user-7", Soon()).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(InstanceTest, ListsTheMembersThatThereWereWhenItBegan) {
  const auto documents = ReadSegmentDocuments(
      "id: c\nname: C\nlive: { actions: { any_of: [ { event: In } ] }, exit: { on: [ { event: Out "
      "} "
      "] } }\n");
  auto wanted = std::make_shared<std::vector<segments::v1::Segment>>(*wanted_);
  wanted->push_back(documents->at(0).segment);
  wanted->back().set_version(1);
  wanted_ = wanted;
  std::vector<std::string> members;
  for (int i = 0; i < 60; ++i) {
    const std::string user = fmt::format("user-{}", i);
    append(user, i < 30 ? "In" : "A");
    if (i < 30) members.push_back(user);
  }
  start();
  wait_for_members("a", 30);
  wait_for_members("c", 30);

  std::vector<std::string> listed;
  const absl::Status status = instance_->ListMembers(
      "c", Soon(),
      [&](const std::map<int32_t, int64_t>&) {
        // While a commit hangs, the cluster is this thread's.
        transactions_->hang();
        for (int i = 0; i < 60; ++i) append(fmt::format("user-{}", i), i < 30 ? "Out" : "In");
        for (int i = 60; i < 70; ++i) append(fmt::format("user-{}", i), "In");
        transactions_->go_on();
        wait_for_members("c", 40);
      },
      [&](const std::vector<std::string>& portion) {
        listed.insert(listed.end(), portion.begin(), portion.end());
        return true;
      });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(listed, ::testing::UnorderedElementsAreArray(members));
}

TEST_F(InstanceTest, FindsUsersThatAnotherPartitionerPlaced) {
  const Partition elsewhere = (PartitionOf("stray", kPartitions) + 1) % kPartitions;
  append(elsewhere, "stray", "A");
  start();
  wait_for_members("a", 1);
  const auto memberships = instance_->MembershipsOf({"stray"}, Soon());
  ASSERT_TRUE(memberships.ok()) << memberships.status();
  EXPECT_THAT(Ids((*memberships)[0]), ElementsAre("a"));
  const auto why = instance_->Explain("a", "stray", Soon());
  ASSERT_TRUE(why.ok()) << why.status();
  EXPECT_TRUE(why->member());
}

TEST_F(InstanceTest, SaysThatAPartitionDoesNotRunHere) {
  start(/*source_is_dead=*/true);
  const auto memberships = instance_->MembershipsOf({"u"}, Soon());
  EXPECT_EQ(memberships.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(memberships.status().message()),
              HasSubstr(fmt::format("partition {}", PartitionOf("u", kPartitions))));
  // Another instance may have the rest, but none may have all.
  const absl::Status counts = instance_->CountMembers({"a"}, Soon()).status();
  EXPECT_EQ(counts.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(counts.message()),
              HasSubstr("counting members needs all partitions in one instance, and here "
                        "partitions 0 to 2 of 3 are not running"));
  const absl::Status listing = instance_->ListMembers(
      "a", Soon(), [](const std::map<int32_t, int64_t>&) {},
      [](const std::vector<std::string>&) { return true; });
  EXPECT_THAT(std::string(listing.message()),
              HasSubstr("listing members needs all partitions in one instance"));
}

TEST_F(InstanceTest, TurnsQuestionsAwayWhileAStepWaitsForTheBrokerTooLong) {
  append("user-1", "A");
  broker_patience_ = absl::ZeroDuration();
  start();
  EXPECT_TRUE(instance_->board().wait_applied("a", 1, Soon()));
  transactions_->hang();
  const absl::Status status = instance_->MembershipsOf({"user-1"}, Soon()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(fmt::format("partition {}: its step has waited",
                                    PartitionOf("user-1", kPartitions))));
  EXPECT_EQ(instance_->CountMembers({"a"}, Soon()).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(instance_->Explain("a", "user-1", Soon()).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_THAT(instance_->held_up(), ElementsAre(0, 1, 2));
  transactions_->go_on();
  wait_for_members("a", 1);
}

TEST_F(InstanceTest, AQuestionEndsAtItsDeadlineWhileAStepWaitsForTheBroker) {
  append("user-1", "A");
  start();
  EXPECT_TRUE(instance_->board().wait_applied("a", 1, Soon()));
  transactions_->hang();
  const absl::Time deadline = absl::Now() + absl::Milliseconds(50);
  EXPECT_EQ(instance_->MembershipsOf({"user-1"}, deadline).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(instance_->held_up(), IsEmpty());
  transactions_->go_on();
  wait_for_members("a", 1);
}

TEST_F(InstanceTest, StopsCleanly) {
  for (int i = 0; i < 20; ++i) append(fmt::format("user-{}", i), "A");
  start();
  wait_for_members("a", 20);
  instance_->stop();
  EXPECT_EQ(instance_->CountMembers({"a"}, Soon()).status().code(), absl::StatusCode::kUnavailable);
  size_t changes = 0;
  for (Partition p = 0; p < kPartitions; ++p) {
    changes += cluster_.read_committed(Topic::kChanges, p).size();
  }
  EXPECT_EQ(changes, 20u);
  EXPECT_TRUE(cluster_.settled());
  instance_.reset();
}

segments::v1::Segment DidA() {
  return ReadSegmentDocuments(
             "name: Did A\npast_behavior: { all_of: [ { did: { event: A } }, { not: { in_segment: "
             "b "
             "} } ] }\n")
      ->at(0)
      .segment;
}

TEST_F(InstanceTest, EstimatesOverAllPartitions) {
  for (int i = 0; i < 50; ++i) append(fmt::format("user-{}", i), "A");
  for (int i = 40; i < 70; ++i) append(fmt::format("user-{}", i), "B");
  start();
  wait_for_members("b", 30);
  wait_for_members("a", 50);
  int64_t members = 0;
  int64_t users = 0;
  double progress = 0;
  const absl::Status status = instance_->estimate(
      DidA(),
      [&](double now) {
        EXPECT_GE(now, progress);
        EXPECT_LE(now, 1);
        progress = now;
        return true;
      },
      &members, &users);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(members, 40);
  EXPECT_EQ(users, 70);
}

TEST_F(InstanceTest, EndsAnEstimateWhenAskedTo) {
  for (int i = 0; i < 50; ++i) append(fmt::format("user-{}", i), "A");
  start();
  wait_for_members("a", 50);
  int64_t members = 0;
  int64_t users = 0;
  // Nothing holds it up here, so that it may be through before it is asked to go on.
  const absl::Status status = instance_->estimate(
      DidA(), [](double) { return false; }, &members, &users);
  EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
  instance_->stop();
  EXPECT_EQ(instance_
                ->estimate(
                    DidA(), [](double) { return true; }, &members, &users)
                .code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(InstanceTest, StopsAListingWhenAskedTo) {
  for (int i = 0; i < 20; ++i) append(fmt::format("user-{}", i), "A");
  start();
  wait_for_members("a", 20);
  int portions = 0;
  const absl::Status status = instance_->ListMembers(
      "a", Soon(), [](const std::map<int32_t, int64_t>&) {},
      [&](const std::vector<std::string>&) { return ++portions < 1; });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(portions, 1);
}

// Gives out partitions when told to, and nothing of them.
class GroupOnly final : public Source {
 public:
  // Returns when the worker has heard of it.
  void tell(std::function<void(const Listener&)> what) {
    std::unique_lock lock(mutex_);
    what_ = std::move(what);
    changed_.notify_all();
    changed_.wait(lock, [&] { return what_ == nullptr; });
  }

  void listen(Listener listener) override { listener_ = std::move(listener); }
  absl::Status start(Partition, Offset) override { return Nobody(); }
  absl::StatusOr<const Batch*> poll(absl::Duration) override {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(1), [&] { return what_ != nullptr; });
    if (what_ != nullptr) {
      what_(listener_);
      what_ = nullptr;
      changed_.notify_all();
    }
    return &batch_;
  }
  absl::StatusOr<std::pair<Offset, Offset>> bounds(Partition) override { return Nobody(); }
  std::optional<Offset> known_end(Partition) override { return std::nullopt; }
  absl::StatusOr<std::optional<Offset>> committed(Partition) override { return Nobody(); }

 private:
  static absl::Status Nobody() { return absl::UnavailableError("there is no broker"); }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void(const Listener&)> what_;
  Listener listener_;
  Batch batch_;
};

class GroupTest : public InstanceTest {
 protected:
  // So many workers, with nobody but the group to tell them anything.
  void start(size_t workers) {
    InstanceOptions options;
    options.partitions = kPartitions;
    options.worker.restore_in_background = false;
    options.worker.backfill.background = false;
    std::vector<StreamInstance::Io> ios(workers);
    for (StreamInstance::Io& io : ios) {
      auto group = std::make_unique<GroupOnly>();
      groups_.push_back(group.get());
      io.source = std::move(group);
      io.transactions = std::make_unique<SimulatedTransactions>(cluster_, "one");
      io.changelog = std::make_unique<SimulatedChangelog>(cluster_);
      io.history = std::make_unique<SimulatedHistory>(cluster_);
    }
    instance_ = std::make_unique<StreamInstance>(options, std::move(ios), clock_);
    instance_->start();
  }
  void give(size_t worker, const std::vector<Partition>& partitions) {
    groups_[worker]->tell([&](const Source::Listener& listener) { listener.given(partitions); });
  }
  void revoke(size_t worker, const std::vector<Partition>& partitions) {
    groups_[worker]->tell([&](const Source::Listener& listener) { listener.revoked(partitions); });
  }

  std::vector<GroupOnly*> groups_;
};

TEST_F(GroupTest, IsAssignedWhenEveryWorkerHasItsShare) {
  start(2);
  EXPECT_FALSE(instance_->assigned());
  // The first to join has all.
  give(0, {0, 1, 2});
  EXPECT_FALSE(instance_->assigned());
  // The second has nothing yet: first the other gives something back.
  give(1, {});
  EXPECT_FALSE(instance_->assigned());
  revoke(0, {2});
  EXPECT_FALSE(instance_->assigned());
  give(1, {2});
  EXPECT_TRUE(instance_->assigned());
  // A later rebalance says nothing about the start.
  revoke(1, {2});
  give(0, {2});
  EXPECT_TRUE(instance_->assigned());
}

TEST_F(GroupTest, NothingGoesOnWherePartitionsWereAddedToTheInput) {
  start(2);
  give(0, {0});
  EXPECT_EQ(instance_->board().find(0)->state, TaskState::kRestoring);
  give(1, {1, kPartitions});
  // A second word to each: the turn before has ended.
  for (int i = 0; i < 2; ++i) {
    for (size_t worker : {0, 1}) give(worker, {});
  }
  for (const Partition partition : {0, 1, kPartitions}) {
    const auto entry = instance_->board().find(partition);
    ASSERT_TRUE(entry.has_value()) << partition;
    EXPECT_EQ(entry->state, TaskState::kFailed) << partition;
    EXPECT_THAT(entry->failure, HasSubstr("were added to the input, which had 3")) << partition;
  }
}

}  // namespace
}  // namespace segmentd::simulation
