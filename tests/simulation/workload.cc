#include "tests/simulation/workload.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <tuple>
#include <utility>

#include "fmt/format.h"

#include "segment/definition_text.h"
#include "stream/partitioner.h"

namespace segmentd::simulation {
namespace {

constexpr const char* kKinds[] = {
    "live: { actions: { any_of: [ { event: A } ] } }",
    "live: { actions: { any_of: [ { event: A }, { event: B, where: [ { property: n, at_least: 5 } "
    "] } ] }, exit: { after: 3s } }",
    "live: { actions: { any_of: [ { event: B } ], repeat: true }, exit: { on: [ { event: C } ] } }",
    "live: { actions: { any_of: [ { event: C } ] }, exit: { after: 20s } }",
    "live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], within: 2s } }",
    "live: { inaction: { trigger: { event: A }, does_not_do: [ { event: C } ], within: 5s, "
    "restart: true }, exit: { after: 4s } }",
    "live: { inaction: { trigger: { event: A, where: [ { property: n, less_than: 8 } ] }, "
    "does_not_do: [ { event: B } ], within: 10s, match: n } }",
    "live: { inaction: { trigger: { event: C }, does_not_do: [ { event: A } ], within: 1s }, "
    "filter: { property: { property: city, equals: Pune } } }",
    "live: { actions: { any_of: [ { event: A } ] }, exit: { after: 6s }, filter: { property: { "
    "property: city, exists: true } } }",
    "live: { page_count: { at_least: 3, within: 10s }, exit: { after: 5s } }",
};

// Windows that slide while the simulation runs, and such as do not.
constexpr const char* kPastKinds[] = {
    "past_behavior: { did: { event: A, within_last: 4s, count: { at_least: 2 } } }",
    "past_behavior: { did: { event: A, within_last: 30d, count: { at_least: 3 } } }",
    "past_behavior: { did: { event: B, sum: { property: n, greater_than: 20 } } }",
    "past_behavior: { all_of: [ { did: { event: A, within_last: 10s } }, { did_not: { event: B, "
    "within_last: 3s } } ] }",
    "past_behavior: { did: { event: C, first_time: true, within_last: 20s } }",
    "past_behavior: { did: { event: C, within_last: 30d, where: [ { property: n, at_least: 5 } ], "
    "average: { property: n, less_than: 8 } } }",
    "past_behavior: { did: { event: B, within_last: 30d, count: { less_than: 3 }, "
    "include_users_who_did_not: true } }",
    "past_behavior: { property: { property: city, equals: Pune } }",
    "past_behavior: { any_of: [ { not: { property: { property: city, exists: true } } }, { did: { "
    "event: D, count: { at_least: 4 } } } ] }",
    "past_behavior: { did: { event: A, during: today, count: { at_most: 6 } } }",
};
constexpr const char* kLiveOnPast[] = {
    "live: { actions: { any_of: [ { event: A } ] }, filter: { did: { event: B, within_last: 30d } "
    "} "
    "}",
    "live: { actions: { any_of: [ { event: C } ] }, exit: { after: 4s }, filter: { did_not: { "
    "event: A, within_last: 5s } } }",
    "live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], within: 2s }, "
    "filter: { did: { event: A, count: { at_least: 2 } } } }",
    "live: { date_time: { property: due }, exit: { after: 3s } }",
};

segments::v1::Segment Make(const std::string& id, int64_t version, const char* kind) {
  const std::string text = fmt::format("id: {}\nname: Segment {}\n{}\n", id, id, kind);
  auto documents = ReadSegmentDocuments(text);
  if (!documents.ok() || documents->size() != 1 || !(*documents)[0].violations.empty()) {
    std::fprintf(stderr, "bad definition:\n%s\n", text.c_str());
    if (documents.ok() && !documents->empty()) {
      for (const auto& v : (*documents)[0].violations) {
        std::fprintf(stderr, "%s: %s\n", v.path.c_str(), v.message.c_str());
      }
    }
    std::abort();
  }
  segments::v1::Segment segment = (*documents)[0].segment;
  segment.set_version(version);
  segment.mutable_create_time()->set_seconds(version == 0 ? 0 : 1);
  return segment;
}

template <size_t kSize>
const char* Any(const char* const (&kinds)[kSize], Random& random) {
  return kinds[random.below(static_cast<int64_t>(kSize))];
}

}  // namespace

Workload::Workload(uint64_t seed, bool producer_times)
    : random_(seed),
      producer_times_(producer_times),
      users_(random_.between(2, 25)),
      grain_ms_(random_.percent(50) ? 1 : 1'000) {
  for (int64_t n = random_.between(1, 6); n > 0; --n) {
    segments_.push_back(create(fmt::format("s{}", created_++)));
  }
  publish();
}

segments::v1::Segment Workload::make(const std::string& id, int64_t version, bool past) {
  const char* kind = past                  ? Any(kPastKinds, random_)
                     : random_.percent(30) ? Any(kLiveOnPast, random_)
                                           : Any(kKinds, random_);
  segments::v1::Segment segment = Make(id, version, kind);
  // A segment refers to older ones, so never in a circle, and past behaviour to past behaviour.
  if (segments_.empty() || !random_.percent(past ? 30 : 50)) return segment;
  const auto& inner =
      segments_[static_cast<size_t>(random_.below(static_cast<int64_t>(segments_.size())))];
  if ((past && !inner.has_past_behavior()) ||
      std::stoi(inner.id().substr(1)) >= std::stoi(id.substr(1))) {
    return segment;
  }
  segments::v1::Expression outer;
  if (past || segment.live().has_filter()) {
    *outer.add_all_of() = past ? segment.past_behavior() : segment.live().filter();
  }
  if (random_.percent(50)) {
    outer.add_all_of()->set_in_segment(inner.id());
  } else {
    outer.add_all_of()->mutable_not_()->set_in_segment(inner.id());
  }
  if (past) {
    *segment.mutable_past_behavior() = outer;
  } else {
    *segment.mutable_live()->mutable_filter() = outer;
  }
  return segment;
}

segments::v1::Segment Workload::create(const std::string& id) {
  segments::v1::Segment segment = make(id, 1, random_.percent(40));
  segment.set_shadow(random_.percent(15));
  if (random_.percent(10)) segment.set_max_changes_per_minute(random_.between(1, 60));
  return segment;
}

WantedDefinitions Workload::plain_definitions() const {
  auto plain = std::make_shared<std::vector<segments::v1::Segment>>(*wanted_);
  for (auto& segment : *plain) {
    segment.clear_shadow();
    segment.clear_paused();
    segment.clear_max_changes_per_minute();
  }
  return plain;
}

void Workload::publish() {
  auto wanted = std::make_shared<std::vector<segments::v1::Segment>>(segments_);
  std::sort(wanted->begin(), wanted->end(),
            [](const auto& a, const auto& b) { return a.id() < b.id(); });
  wanted_ = std::move(wanted);
}

void Workload::change_definitions() {
  const int64_t what = segments_.empty() ? 0 : random_.below(3);
  const auto at = static_cast<size_t>(
      segments_.empty() ? 0 : random_.below(static_cast<int64_t>(segments_.size())));
  if (what == 0) {
    segments_.push_back(create(fmt::format("s{}", created_++)));
  } else if (what == 1) {
    const segments::v1::Segment before = segments_[at];
    segments::v1::Segment& segment = segments_[at];
    if (random_.percent(60)) {
      segment = make(before.id(), before.version(), before.has_past_behavior());
      segment.set_max_changes_per_minute(before.max_changes_per_minute());
      segment.set_shadow(before.shadow());
      segment.set_paused(before.paused());
      segment.set_resumed_version(before.resumed_version());
    }
    *segment.mutable_create_time() = before.create_time();
    segment.set_version(before.version() + 1);
    // A shadow can end, and a pause come and go.
    if (random_.percent(60)) segment.set_shadow(false);
    if (random_.percent(25)) {
      segment.set_paused(!before.paused());
      if (before.paused()) segment.set_resumed_version(segment.version());
    }
  } else if (random_.percent(30)) {
    // Deleted and made again at once, under the same ID.
    segments_[at] = create(segments_[at].id());
    segments_[at].mutable_create_time()->set_seconds(++created_);
  } else {
    segments_.erase(segments_.begin() + static_cast<ptrdiff_t>(at));
  }
  publish();
}

std::string Workload::event(const std::string& user, Time now) {
  const int64_t lateness = random_.percent(70)   ? random_.between(0, 900)
                           : random_.percent(90) ? random_.between(0, 20'000)
                                                 : random_.between(0, Duration::Hours(3).millis());
  const int64_t at = (now.millis() - lateness) / grain_ms_ * grain_ms_;
  ++events_;
  // Some can't be told from others.
  const std::string message =
      random_.percent(30) ? "" : fmt::format(R"("messageId":"m{}",)", events_);
  if (random_.percent(3)) {
    return fmt::format(
        R"({{"type":"identify","userId":"{}",{}"timestamp":{},"traits":{{"due":"{}"}}}})", user,
        message, at, FormatTimestamp(Time::Millis(at + random_.between(-2'000, 20'000))));
  }
  if (random_.percent(10)) {
    return fmt::format(
        R"({{"type":"identify","userId":"{}",{}"timestamp":{},"traits":{{"city":{}}}}})", user,
        message, at,
        random_.percent(30)   ? "null"
        : random_.percent(50) ? "\"Pune\""
                              : "\"Delhi\"");
  }
  if (random_.percent(15)) {
    return fmt::format(
        R"({{"type":"page","userId":"{}",{}"timestamp":{},"properties":{{"url":"https://example.com/{}"}}}})",
        user, message, at, random_.below(4));
  }
  return fmt::format(
      R"({{"type":"track","userId":"{}",{}"timestamp":{},"event":"{}","properties":{{"n":{}}}}})",
      user, message, at, std::string(1, static_cast<char>('A' + random_.below(4))),
      random_.below(10));
}

void Workload::append(Cluster& cluster) {
  // One that comes twice is told from its first by the record time.
  cluster.pass(Duration::Millis(1));
  std::string user = fmt::format("user-{}", random_.below(users_));
  std::string body;
  if (!lately_.empty() && random_.percent(6)) {
    std::tie(user, body) =
        lately_[static_cast<size_t>(random_.below(static_cast<int64_t>(lately_.size())))];
  } else {
    body = event(user, cluster.wall);
    lately_.emplace_back(user, body);
    if (lately_.size() > 20) lately_.pop_front();
  }
  const Partition partition = PartitionOf(user, cluster.partitions());
  if (random_.percent(10)) cluster.append(partition, std::nullopt);
  InputRecord record{
      .has_key = true, .key = user, .value = std::move(body), .record_time = cluster.wall};
  if (producer_times_ && random_.percent(30)) {
    record.record_time = record.record_time + Duration::Millis(random_.between(-5'000, 5'000));
  }
  if (random_.percent(4)) {
    switch (random_.below(3)) {
      case 0:
        record.value = "{\"type\":";
        break;
      case 1:
        record.key = "somebody else";
        break;
      default:
        record.has_key = false;
        record.key.clear();
        break;
    }
  }
  cluster.append(partition, std::move(record));
}

}  // namespace segmentd::simulation
