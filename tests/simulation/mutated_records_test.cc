// A million damaged records through decoder, task and transactions: none stops the stream, each is
// an event or one dead letter, and the counts add up.

#include "tests/unit/mutated_records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "fmt/format.h"
#include "spdlog/spdlog.h"

#include "segment/definition_text.h"
#include "stream/change_codec.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/process.h"

namespace segmentd::simulation {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kRecords = 1'000'000;
constexpr int64_t kPortion = 10'000;

constexpr const char* kSegments = R"(
id: charged
name: Charged
live: { actions: { any_of: [ { event: Charged, where: [ { property: amount, greater_than: 10 } ] }, { event: E } ], repeat: true } }
---
id: silent
name: Silent
live: { inaction: { trigger: { event: Charged }, does_not_do: [ { event: E, where: [ { property: "items[].sku", equals: z } ] } ], within: 10s, match: cart.id } }
---
id: pages
name: Pages
live: { page_count: { at_least: 3, distinct_urls: false, per: session } }
---
id: spent
name: Spent
past_behavior: { any_of: [ { did: { event: Charged, within_last: 1m, sum: { property: amount, greater_than: 1000 } } }, { property: { property: plan, equals: gold } } ] }
)";

// SEGMENTD_SEED repeats a run.
uint64_t Seed() {
  const char* given = std::getenv("SEGMENTD_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : 20'261'122;
}

WantedDefinitions Definitions() {
  std::vector<segments::v1::Segment> segments;
  const auto documents = ReadSegmentDocuments(kSegments);
  for (const SegmentDocument& document : *documents) {
    EXPECT_TRUE(document.violations.empty());
    segments.push_back(document.segment);
    segments.back().set_version(1);
  }
  return std::make_shared<const std::vector<segments::v1::Segment>>(std::move(segments));
}

TEST(MutatedRecordsAtRandom, AreEventsOrDeadLetters) {
  spdlog::set_level(spdlog::level::off);
  const uint64_t seed = Seed();
  fmt::print("SEGMENTD_SEED={}\n", seed);
  std::vector<std::string> users;
  for (char c = 'a'; c <= 'z'; ++c) users.emplace_back(1, c);
  MutatedRecords records(seed, users);
  Cluster cluster(1, seed);
  WorkerOptions options;
  options.restore_in_background = false;
  options.backfill.background = false;
  const WantedDefinitions definitions = Definitions();

  int64_t events = 0;
  int64_t dead_letters = 0;
  int64_t appended = 0;
  while (appended < kRecords) {
    // Each process finds what the one before has left.
    Process process(cluster, "one", options);
    process.worker().want(definitions);
    for (const int64_t end = appended + kRecords / 10; appended < end;) {
      for (const int64_t portion = appended + kPortion; appended < portion; ++appended) {
        MutatedRecord record = records.next(cluster.wall);
        std::vector<HeaderView> headers;
        if (!record.content_type.empty()) headers.push_back({"content-type", record.content_type});
        cluster.append(0, InputRecord{.has_key = record.key.has_value(),
                                      .key = record.key.value_or(""),
                                      .value = std::move(record.body),
                                      .record_time = cluster.wall,
                                      .headers = std::move(headers)});
        cluster.pass(Duration::Millis(1));
      }
      const auto done = [&] {
        const auto committed = cluster.committed(0);
        return committed.ok() && *committed == Offset(appended);
      };
      for (int turns = 0; !done(); ++turns) {
        ASSERT_LT(turns, 10 * kPortion) << "the stream has stopped";
        process.worker().turn();
      }
    }
    const TaskMetrics& metrics = *process.board().all_metrics().at(0);
    events += metrics.events.value();
    for (const Metric& letters : metrics.dead_letters) dead_letters += letters.value();
  }
  EXPECT_EQ(events + dead_letters, kRecords);
  EXPECT_GT(events, kRecords / 10);

  // Each as it was, once.
  std::map<int64_t, const OutputRecord*> letters;
  for (const OutputRecord* letter : cluster.read_committed(Topic::kDeadLetters, 0)) {
    int64_t offset = -1;
    for (const auto& [name, value] : letter->headers) {
      if (name != "source-offset") continue;
      ASSERT_TRUE(absl::SimpleAtoi(value, &offset));
    }
    ASSERT_TRUE(letters.emplace(offset, letter).second) << "twice: " << offset;
    const InputRecord& source = *cluster.input(0).at(static_cast<size_t>(offset));
    ASSERT_EQ(letter->has_key, source.has_key);
    ASSERT_EQ(letter->key, source.key);
    ASSERT_EQ(*letter->value, source.value);
  }
  EXPECT_EQ(static_cast<int64_t>(letters.size()), dead_letters);

  std::set<std::string> told;
  for (const OutputRecord* record : cluster.read_committed(Topic::kChanges, 0)) {
    told.insert(DecodeChange(*record->value)->segment_id());
  }
  EXPECT_THAT(told, ElementsAre("charged", "pages", "silent", "spent"));
}

}  // namespace
}  // namespace segmentd::simulation
