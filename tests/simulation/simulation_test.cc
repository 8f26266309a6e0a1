// Workers over a simulated Kafka that loses, delays and forgets, with crashes in any call.
//
// A trial is its seed: SEGMENTD_SIMULATION_SEED=N runs that one alone, SEGMENTD_SIMULATION_RUNS=N
// sets how many each test makes.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "fmt/format.h"
#include "google/protobuf/util/time_util.h"
#include "spdlog/spdlog.h"

#include "segment/definition_text.h"
#include "state/user_codec.h"
#include "stream/change_codec.h"
#include "stream/recovery.h"
#include "stream/worker.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/process.h"
#include "tests/simulation/workload.h"

namespace segmentd::simulation {
namespace {

struct Kind {
  // Definitions change on the way.
  bool edits = false;
  // Settings change from start to start.
  bool settings = false;
  bool faults = true;
  // Record times neither ascend nor keep to the wall clock.
  bool producer_times = false;
};

WorkerOptions RandomOptions(Random& random) {
  WorkerOptions options;
  options.restore_in_background = false;
  options.backfill.background = false;
  options.task.max_replay_events = random.between(0, 60);
  options.task.max_replay_time = absl::Milliseconds(random.between(10, 5'000));
  options.task.users_saved_per_step = static_cast<size_t>(random.between(1, 5));
  options.task.users_drained_per_step = static_cast<size_t>(random.between(4, 40));
  options.task.bytes_saved_per_step = static_cast<size_t>(random.between(1'000, 100'000));
  // Most images in one part, or in many.
  options.task.image_part_bytes = static_cast<size_t>(random.between(30, 1'000));
  options.task.deadlines_per_portion = static_cast<size_t>(random.between(1, 4));
  options.task.users_scanned_per_step = static_cast<size_t>(random.between(1, 6));
  options.task.users_built_per_step = static_cast<size_t>(random.between(1, 6));
  options.step.records = random.between(1, 40);
  options.commit_interval = absl::Milliseconds(random.between(0, 50));
  options.settle_time = absl::Milliseconds(random.between(0, 20));
  options.progress_interval = absl::Milliseconds(random.between(10, 1'000));
  // However long the faults last, no task may fail.
  options.attempts = 1'000'000;
  return options;
}

class Trial {
 public:
  Trial(uint64_t seed, Kind kind)
      : kind_(kind),
        random_(seed),
        checks_(seed),
        cluster_(static_cast<int32_t>(1 + seed % 3), random_.next()),
        workload_(random_.next(), kind.producer_times) {
    // A limit takes effect between two steps, and steps differ.
    if (!kind.edits) workload_.use(workload_.plain_definitions());
  }

  // Crashes and all, until everything is done.
  void go() {
    const int64_t processes = random_.between(1, 3);
    for (int64_t i = 0; i < processes; ++i) names_.push_back(fmt::format("process-{}", i));
    if (kind_.faults) {
      const int64_t weight = random_.between(0, 3);
      cluster_.faults = {.crash = random_.below(1 + 30 * weight),
                         .write_error = random_.below(1 + 10 * weight),
                         .abort = random_.below(1 + 100 * weight),
                         .unknown = random_.below(1 + 100 * weight),
                         .call_error = random_.below(1 + 50 * weight),
                         .late_marker = random_.below(1 + 2'000 * weight)};
    }
    const int64_t steps = random_.between(100, 600);
    for (int64_t i = 0; i < steps && !::testing::Test::HasFailure(); ++i) step();
    finish();
  }

  // The same input, and no fault: what a single process makes of it. With `final_definitions` those
  // that the other ended with hold from the first record on.
  void go_without_faults(const Trial& other, bool final_definitions = false) {
    if (final_definitions) workload_.use(other.workload_.plain_definitions());
    for (Partition p = 0; p < cluster_.partitions(); ++p) {
      for (const auto& record : other.cluster_.input(p)) cluster_.append(p, record);
    }
    cluster_.wall = other.cluster_.wall;
    names_ = {"alone"};
    finish();
  }

  void check() {
    for (Partition p = 0; p < cluster_.partitions(); ++p) check_partition(p);
  }

  // What a reader of the changes sees of each user and segment, without the numbers.
  using Story = std::map<std::pair<std::string, std::string>, std::vector<std::string>>;
  const Story& story() const { return story_; }
  // Who is in which segment at the end.
  std::set<std::pair<std::string, std::string>> members() const {
    std::set<std::pair<std::string, std::string>> members;
    for (const auto& [of, records] : story_) {
      const auto last = std::find_if(records.rbegin(), records.rend(), [](const std::string& r) {
        return r.rfind("QUALIFIED", 0) != 0;
      });
      if (last != records.rend() && last->rfind("ADD", 0) == 0) members.insert(of);
    }
    return members;
  }
  // Who is in which past-behaviour segment, of the segments that run and refer to none that does
  // not.
  using PastMembers = std::map<std::string, std::set<std::string>>;
  const PastMembers& past_members() const { return past_members_; }
  std::string describe() const {
    std::string text;
    for (const segments::v1::Segment& segment : *workload_.definitions()) {
      text += fmt::format("version {}\n{}\n", segment.version(), SegmentToYaml(segment));
    }
    return text;
  }
  const Cluster& cluster() const { return cluster_; }
  // Up to here deadlines have fired everywhere.
  Time fired() const { return fired_; }
  int crashes() const { return crashes_; }
  int64_t dead_letters() const { return dead_letters_; }

 private:
  void start(const std::string& name) {
    WorkerOptions options = RandomOptions(random_);
    if (kind_.settings && random_.percent(20)) {
      options.task.settings.deadline_grace = Duration::Millis(random_.between(0, 3'000));
      options.task.settings.max_lateness = Duration::Minutes(random_.between(1, 200));
    }
    try {
      auto process = std::make_unique<Process>(cluster_, name, options);
      process->worker().want(workload_.definitions());
      processes_[name] = std::move(process);
    } catch (const Crash&) {
      ++crashes_;
    }
  }

  // The process does something, and may die of it.
  template <typename Act>
  void act(const std::string& name, Act&& act) {
    const auto it = processes_.find(name);
    if (it == processes_.end()) return;
    try {
      act(it->second->worker());
    } catch (const Crash&) {
      ++crashes_;
      processes_.erase(it);
      if (random_.percent(50)) cluster_.leave(name);
    }
  }

  void step() {
    for (int64_t n = random_.percent(60) ? random_.below(6) : 0; n > 0; --n) {
      cluster_.pass(Duration::Millis(random_.percent(20) ? 0 : random_.between(0, 300)));
      workload_.append(cluster_);
    }
    if (random_.percent(3)) cluster_.pass(Duration::Millis(random_.between(0, 8'000)));
    cluster_.tick();
    const std::string& name =
        names_[static_cast<size_t>(random_.below(static_cast<int64_t>(names_.size())))];
    if (processes_.count(name) == 0) {
      if (random_.percent(30)) start(name);
    } else {
      act(name, [](Worker& worker) { worker.turn(); });
    }
    if (!kind_.faults) return;
    if (random_.in_10000(50)) cluster_.rebalance();
    // The group gives a member up that does not know it yet.
    if (random_.in_10000(50)) cluster_.leave(name);
    if (random_.in_10000(50)) {
      act(name, [](Worker& worker) { worker.stop(); });
      processes_.erase(name);
      cluster_.leave(name);
    }
    if (kind_.edits && random_.in_10000(200)) change_definitions(name);
    check_failures();
    // By wrong record times what was decided is no function of offset and clock.
    if (kind_.edits && !kind_.producer_times && checks_.percent(2)) check_restored();
  }

  // Also several times between two records, and with the end of a process between the two.
  void change_definitions(const std::string& name) {
    for (bool more = true; more; more = random_.percent(30)) {
      workload_.change_definitions();
      for (auto& [each, process] : processes_) process->worker().want(workload_.definitions());
      for (int64_t turns = random_.below(6); turns > 0; --turns) {
        act(name, [](Worker& worker) { worker.turn(); });
      }
      if (!random_.percent(20)) continue;
      processes_.erase(name);
      start(name);
    }
  }

  void check_failures() {
    for (auto& [name, process] : processes_) {
      for (const auto& [partition, entry] : process->board().entries()) {
        ASSERT_NE(entry.state, TaskState::kFailed) << entry.failure;
      }
    }
  }

  // The task of the partition, where it runs.
  const Task* task(Partition partition) {
    for (auto& [name, process] : processes_) {
      if (cluster_.owner(partition) != name) continue;
      if (const Task* task = process->worker().running(partition)) return task;
    }
    return nullptr;
  }

  // What was committed gives back the users of the tasks that run, should these end here.
  void check_restored() {
    if (!cluster_.settled()) return;
    for (Partition p = 0; p < cluster_.partitions(); ++p) {
      const Task* running = task(p);
      if (running && !running->has_told() && !running->has_touched()) check_restored(p, *running);
    }
  }

  void check_restored(Partition p, const Task& running) {
    Cluster copy = cluster_;
    copy.faults = {};
    SimulatedChangelog changelog(copy);
    const std::atomic<bool> cancelled{false};
    TaskMetrics metrics;
    auto read = ReadChangelog(changelog, p, cancelled, metrics);
    ASSERT_TRUE(read.ok()) << read.status();
    if (!(*read)->record) return;
    const segments::v1::TaskRecord record = *(*read)->record;
    const Offset next(record.next_offset());
    // In the midst of a step.
    if (next != running.position() || Time::Millis(record.clock_ms()) != running.fired()) return;

    const TaskOptions options;
    Task restored(p, options, metrics);
    const Offset end(static_cast<int64_t>(copy.input(p).size()));
    const absl::Status started =
        restored.start(*std::move(read), *copy.committed(p), {Offset(), end});
    ASSERT_TRUE(started.ok()) << started;
    std::vector<Record> records;
    for (int64_t i = restored.position().value(); i < next.value(); ++i) {
      const auto& input = copy.input(p)[static_cast<size_t>(i)];
      if (!input) continue;
      records.push_back({.partition = p,
                         .offset = Offset(i),
                         .record_time = input->record_time,
                         .has_key = input->has_key,
                         .key = input->key,
                         .value = input->value});
    }
    SimulatedTransactions transactions(copy, "restored");
    Step step(transactions, {});
    restored.apply(records, copy.wall, step);
    restored.reach_end(next, copy.wall);
    ASSERT_TRUE(restored.running()) << restored.failure();

    EXPECT_EQ(restored.definitions().last_change_number(),
              running.definitions().last_change_number());
    ASSERT_EQ(restored.users().size(), running.users().size());
    Engine engine(running.rules(), running.engine().settings());
    for (UserIndex i = 0; i < running.users().size(); ++i) {
      const StoredUser& user = running.users()[i];
      const StoredUser* found = restored.users().find(user.id());
      ASSERT_NE(found, nullptr) << user.id();
      const UserState a = TakenOver(engine, user.state);
      const UserState b = TakenOver(engine, found->state);
      EXPECT_EQ(a.present, b.present) << user.id();
      EXPECT_EQ(a.facts, b.facts) << user.id();
      EXPECT_EQ(a.seen, b.seen) << user.id();
      EXPECT_EQ(a.newest_event, b.newest_event) << user.id();
      EXPECT_EQ(a.decided, b.decided) << user.id();
      EXPECT_EQ(a.next_deadline, b.next_deadline) << user.id();
      // One as of before everything may have what was paused, which nobody refers to any more.
      if (!a.base || a.base->until == Time::Min()) continue;
      ASSERT_NE(b.base, nullptr) << user.id();
      EXPECT_EQ(*a.base, *b.base) << user.id();
    }
  }

  // A copy, as of the engine's rules: the next record or change would take a user over to them.
  static UserState TakenOver(Engine& engine, const UserState& user) {
    std::string image;
    AppendUserImage(user, Offset(), &image);
    UserState copy;
    Offset included;
    EXPECT_TRUE(ParseUserImage(image, &copy, &included).ok());
    engine.take_over(copy);
    return copy;
  }

  bool done(Time until) {
    if (!cluster_.settled()) return false;
    for (Partition p = 0; p < cluster_.partitions(); ++p) {
      const Task* running = task(p);
      if (!running || running->has_told() || running->has_work() || running->fired() < until ||
          running->position() < Offset(static_cast<int64_t>(cluster_.input(p).size()))) {
        return false;
      }
      for (const auto& [id, status] : *running->statuses()) {
        if (status.building || status.deleting) return false;
      }
    }
    return true;
  }

  void finish() {
    cluster_.faults = {};
    for (const std::string& name : names_) {
      if (processes_.count(name) == 0) start(name);
    }
    // Long enough for every deadline.
    const Time until = cluster_.wall + Duration::Seconds(60);
    for (int turns = 0; !done(until); ++turns) {
      ASSERT_LT(turns, 100'000) << "does not come to an end";
      check_failures();
      if (::testing::Test::HasFailure()) return;
      for (const std::string& name : names_) act(name, [](Worker& worker) { worker.turn(); });
      cluster_.pass(Duration::Millis(200));
      cluster_.tick();
    }
    fired_ = Time::Max();
    for (Partition p = 0; p < cluster_.partitions(); ++p) {
      fired_ = std::min(fired_, task(p)->fired());
    }
  }

  void check_partition(Partition p) {
    std::map<std::pair<std::string, std::string>, bool> member;
    int64_t number = 0;
    for (const OutputRecord* record : cluster_.read_committed(Topic::kChanges, p)) {
      const auto change = DecodeChange(*record->value);
      ASSERT_TRUE(change.ok()) << *record->value;
      EXPECT_EQ(change->change_id(), fmt::format("events-{}:{}", p, number++));
      EXPECT_EQ(change->user_id(), record->key);
      const std::pair<std::string, std::string> of(change->user_id(), change->segment_id());
      if (change->action() == segments::v1::ADD) {
        EXPECT_FALSE(member[of]) << "two ADDs of " << of.first << " to " << of.second;
        member[of] = true;
      } else if (change->action() == segments::v1::REMOVE) {
        EXPECT_TRUE(member[of]) << "a REMOVE of " << of.first << " from " << of.second;
        member[of] = false;
      } else {
        EXPECT_TRUE(member[of]) << of.first << " qualifies for " << of.second << " from outside";
      }
      story_[of].push_back(
          fmt::format("{} {} {} {}@{} {}", segments::v1::Action_Name(change->action()),
                      google::protobuf::util::TimeUtil::ToString(change->at()),
                      segments::v1::Reason_Name(change->reason()), change->cause().event(),
                      google::protobuf::util::TimeUtil::ToString(change->cause().at()),
                      change->cause().message_id()));
    }

    // Memory is what was told.
    const Task* running = task(p);
    ASSERT_NE(running, nullptr);
    EXPECT_EQ(running->next_change(), number);
    std::map<std::pair<std::string, std::string>, bool> in_memory;
    std::map<Slot, int64_t> counts;
    for (UserIndex i = 0; i < running->users().size(); ++i) {
      const StoredUser& user = running->users()[i];
      for (const SegmentState& state : user.state.present.segments) {
        if (!state.member) continue;
        ++counts[state.slot];
        const auto& segment = running->engine().rules().segment(state.slot)->segment;
        if (running->definitions().told(state.slot, &state))
          in_memory[{std::string(user.id()), segment.id()}] = true;
      }
    }
    note_past_members(*running);
    for (auto it = member.begin(); it != member.end();) {
      it = it->second ? std::next(it) : member.erase(it);
    }
    EXPECT_EQ(member, in_memory);
    for (const auto& [slot, count] : counts) EXPECT_EQ(running->members(slot), count);

    // Each broken record once.
    std::multiset<std::string> expected;
    const Cluster::Input& input = cluster_.input(p);
    for (size_t i = 0; i < input.size(); ++i) {
      if (!input[i]) continue;
      const std::string& value = input[i]->value;
      const bool broken =
          !input[i]->has_key || value == "{\"type\":" ||
          value.find(fmt::format("\"userId\":\"{}\"", input[i]->key)) == std::string::npos;
      if (broken) expected.insert(fmt::format("{} {} {}", i, input[i]->key, value));
    }
    std::multiset<std::string> dead;
    for (const OutputRecord* record : cluster_.read_committed(Topic::kDeadLetters, p)) {
      const std::map<std::string, std::string> headers(record->headers.begin(),
                                                       record->headers.end());
      EXPECT_EQ(headers.at("source-partition"), fmt::format("{}", p));
      EXPECT_FALSE(headers.at("error").empty());
      EXPECT_FALSE(headers.at("detail").empty());
      dead.insert(
          fmt::format("{} {} {}", headers.at("source-offset"), record->key, *record->value));
      ++dead_letters_;
    }
    EXPECT_EQ(dead, expected);
  }

  void note_past_members(const Task& task) {
    const auto stands_still = [&](const std::string& id) {
      const auto it = task.statuses()->find(id);
      return it == task.statuses()->end() || it->second.paused;
    };
    for (const ActiveSegment& active : task.engine().rules().segments()) {
      const segments::v1::Segment& segment = active.segment;
      if (!segment.has_past_behavior()) continue;
      // Along the references, as deep as they go.
      bool runs = true;
      std::vector<std::string> refers = {segment.id()};
      for (size_t i = 0; i < refers.size() && runs; ++i) {
        const ActiveSegment* inner = task.engine().rules().find(refers[i]);
        // Of a live one it matters since when it is, and nobody deletes one that is referred to.
        runs = inner && !stands_still(refers[i]) && inner->segment.has_past_behavior();
        if (!runs) break;
        for (const auto& part : inner->segment.past_behavior().all_of()) {
          if (!part.in_segment().empty()) refers.push_back(part.in_segment());
          if (!part.not_().in_segment().empty()) refers.push_back(part.not_().in_segment());
        }
      }
      if (!runs) {
        unknown_.insert(segment.id());
        continue;
      }
      std::set<std::string>& members = past_members_[segment.id()];
      for (UserIndex i = 0; i < task.users().size(); ++i) {
        const StoredUser& user = task.users()[i];
        if (IsMember(user.state, active.slot)) members.emplace(user.id());
      }
    }
    for (const std::string& id : unknown_) past_members_.erase(id);
  }

  const Kind kind_;
  PastMembers past_members_;
  // Segments that stand still in some partition.
  std::set<std::string> unknown_;
  Random random_;
  // Apart, so that what is checked makes no other trial.
  Random checks_;
  Cluster cluster_;
  Workload workload_;
  std::vector<std::string> names_;
  std::map<std::string, std::unique_ptr<Process>> processes_;
  Story story_;
  Time fired_;
  int crashes_ = 0;
  int64_t dead_letters_ = 0;
};

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoll(text, nullptr, 10) : otherwise;
}

// Runs `run` with one seed after the other.
template <typename OneRun>
void ForSeeds(int64_t runs, OneRun&& run) {
  spdlog::set_level(spdlog::level::off);
  const int64_t only = FromEnvironment("SEGMENTD_SIMULATION_SEED", -1);
  if (only >= 0) spdlog::set_level(spdlog::level::debug);
  const int64_t first = only >= 0 ? only : 1;
  const int64_t last = only >= 0 ? only : FromEnvironment("SEGMENTD_SIMULATION_RUNS", runs);
  for (int64_t seed = first; seed <= last; ++seed) {
    SCOPED_TRACE(fmt::format("SEGMENTD_SIMULATION_SEED={}", seed));
    run(static_cast<uint64_t>(seed));
    if (::testing::Test::HasFailure()) return;
  }
}

// What was told up to `until`.
Trial::Story Until(const Trial::Story& story, Time until) {
  const std::string end = FormatTimestamp(until);
  Trial::Story cut;
  for (const auto& [of, records] : story) {
    std::vector<std::string> kept;
    for (const std::string& record : records) {
      if (record.substr(record.find(' ') + 1, end.size()) < end) kept.push_back(record);
    }
    if (!kept.empty()) cut[of] = kept;
  }
  return cut;
}

TEST(Simulation, TellsTheSameWhateverCrashed) {
  int crashes = 0;
  int64_t dead_letters = 0;
  size_t stories = 0;
  ForSeeds(1'000, [&](uint64_t seed) {
    Trial trial(seed, {.edits = false});
    trial.go();
    if (::testing::Test::HasFailure()) return;
    trial.check();
    Trial calm(seed, {.edits = false, .faults = false});
    calm.go_without_faults(trial);
    if (::testing::Test::HasFailure()) return;
    calm.check();
    const Time until = std::min(trial.fired(), calm.fired());
    EXPECT_EQ(Until(trial.story(), until), Until(calm.story(), until));
    crashes += trial.crashes();
    dead_letters += trial.dead_letters();
    stories += trial.story().size();
  });
  if (::testing::Test::HasFailure()) return;
  // That the runs were about something.
  EXPECT_GT(crashes, 0);
  EXPECT_GT(dead_letters, 0);
  EXPECT_GT(stories, 0u);
}

TEST(Simulation, EndsInTheSameMembershipsWhateverTheRecordTimes) {
  ForSeeds(700, [](uint64_t seed) {
    Trial trial(seed, {.producer_times = true});
    trial.go();
    if (::testing::Test::HasFailure()) return;
    trial.check();
    Trial calm(seed, {.faults = false, .producer_times = true});
    calm.go_without_faults(trial);
    if (::testing::Test::HasFailure()) return;
    calm.check();
    EXPECT_EQ(trial.members(), calm.members());
  });
}

TEST(Simulation, KeepsItsPromisesWhileDefinitionsChange) {
  ForSeeds(1'000, [](uint64_t seed) {
    Trial trial(seed, {.edits = true, .settings = true});
    trial.go();
    if (!::testing::Test::HasFailure()) trial.check();
  });
}

TEST(Simulation, CountsThePastAsIfTheSegmentHadAlwaysBeen) {
  size_t members = 0;
  ForSeeds(1'000, [&](uint64_t seed) {
    Trial trial(seed, {.edits = true});
    trial.go();
    if (::testing::Test::HasFailure()) return;
    trial.check();
    Trial calm(seed, {.faults = false});
    calm.go_without_faults(trial, /*final_definitions=*/true);
    if (::testing::Test::HasFailure()) return;
    calm.check();
    for (const auto& [id, users] : trial.past_members()) {
      EXPECT_EQ(users, calm.past_members().at(id)) << id << " of:\n" << trial.describe();
      members += users.size();
    }
  });
  if (!::testing::Test::HasFailure()) {
    EXPECT_GT(members, 0u);
  }
}

}  // namespace
}  // namespace segmentd::simulation
