// Decoding of an event of about 180 bytes, with the fields of a hundred segments, against a bare
// simdjson loop over the same bytes that reads four members and nothing else. `vs_bare` is the
// ratio of the two.
#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "simdjson.h"

#include "proto/segments/v1/event.pb.h"
#include "segment/fields.h"
#include "stream/decoder.h"

namespace segmentd {
namespace {

// Different events, so that branches are not learnt by heart.
constexpr size_t kEvents = 4096;
constexpr int64_t kStart = 1'790'000'000'000;

struct Input {
  std::vector<std::string> users;
  std::vector<std::string> values;
  size_t bytes = 0;
  HeaderView content_type{"content-type", ""};

  Record record(size_t i) const {
    return {.offset = Offset(static_cast<int64_t>(i)),
            .record_time = Time::Millis(kStart + 86'400'000),
            .has_key = true,
            .key = users[i],
            .value = values[i],
            .headers = content_type.value.empty() ? absl::Span<const HeaderView>()
                                                  : absl::Span<const HeaderView>(&content_type, 1)};
  }
  void add(std::string user, std::string value) {
    bytes += value.size();
    users.push_back(std::move(user));
    values.push_back(std::move(value));
  }
};

std::string User(size_t i) {
  return "user-" + std::to_string(100'000 + i * 7919 % 200'000);
}

Input Track() {
  Input input;
  for (size_t i = 0; i < kEvents; ++i) {
    input.add(User(i), R"({"type":"track","messageId":"m-)" + std::to_string(1'000'000 + i) +
                           R"(","userId":")" + User(i) + R"(","event":"Event )" +
                           std::to_string(i % 100) + R"(","properties":{"category":"c)" +
                           std::to_string(i % 10) + R"(","amount":)" + std::to_string(i % 1000) +
                           R"(.5},"timestamp":"2026-09-21T)" + std::to_string(10 + i % 14) +
                           R"(:20:00.123Z"})");
  }
  return input;
}

Input Page() {
  Input input;
  for (size_t i = 0; i < kEvents; ++i) {
    input.add(
        User(i),
        R"({"type":"page","messageId":"m-)" + std::to_string(1'000'000 + i) + R"(","userId":")" +
            User(i) + R"(","context":{"page":{"url":"https://example.com/)" +
            std::to_string(i % 100) +
            R"(","referrer":"https://search.example.org/?q=x","title":"A page"}},"timestamp":)" +
            std::to_string(kStart + static_cast<int64_t>(i)) + "}");
  }
  return input;
}

Input Identify() {
  Input input;
  for (size_t i = 0; i < kEvents; ++i) {
    input.add(
        User(i),
        R"({"type":"identify","messageId":"m-)" + std::to_string(1'000'000 + i) +
            R"(","userId":")" + User(i) + R"(","traits":{"plan":"gold","age":)" +
            std::to_string(18 + i % 60) +
            R"(,"address":{"city":"Pune","country":"IN"},"tags":["a","b"]},"timestamp":"2026-09-21T09:20:00Z"})");
  }
  return input;
}

Input CleverTap() {
  Input input;
  for (size_t i = 0; i < kEvents; ++i) {
    input.add(User(i), R"({"type":"event","identity":")" + User(i) + R"(","ts":)" +
                           std::to_string(kStart / 1000) + R"(,"evtName":"Event )" +
                           std::to_string(i % 100) + R"(","evtData":{"category":"c)" +
                           std::to_string(i % 10) + R"(","amount":)" + std::to_string(i % 1000) +
                           R"(.5,"items":[{"sku":"A-1"},{"sku":"B-2"}]}})");
  }
  return input;
}

Input Protobuf() {
  Input input;
  input.content_type.value = "application/x-protobuf";
  for (size_t i = 0; i < kEvents; ++i) {
    segments::v1::Event event;
    event.set_user_id(User(i));
    event.set_message_id("m-" + std::to_string(1'000'000 + i));
    event.set_name("Event " + std::to_string(i % 100));
    event.set_time_ms(kStart + static_cast<int64_t>(i));
    (*event.mutable_properties())["category"].set_string("c" + std::to_string(i % 10));
    (*event.mutable_properties())["amount"].set_number(static_cast<double>(i % 1000) + 0.5);
    input.add(User(i), event.SerializeAsString());
  }
  return input;
}

// What a hundred segments may refer to.
Fields HundredFields() {
  Fields fields;
  for (const char* path :
       {"category", "amount", "url", "referrer", "items[].sku", "cart.id", "context.page.url"})
    fields.add(path);
  for (int i = 0; i < 93; ++i) fields.add("property_" + std::to_string(i));
  return fields;
}

// CPU time of this thread.
int64_t ThreadNanos() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return time.tv_sec * int64_t{1'000'000'000} + time.tv_nsec;
}

size_t BareLoop(simdjson::ondemand::parser* parser, const simdjson::padded_string& text) {
  simdjson::ondemand::document document;
  std::string_view type;
  std::string_view user;
  std::string_view event;
  std::string_view timestamp;
  if (parser->iterate(text).get(document) != simdjson::SUCCESS ||
      document["type"].get(type) != simdjson::SUCCESS ||
      document["userId"].get(user) != simdjson::SUCCESS ||
      document["event"].get(event) != simdjson::SUCCESS ||
      document["timestamp"].get(timestamp) != simdjson::SUCCESS) {
    std::abort();
  }
  return type.size() + user.size() + event.size() + timestamp.size();
}

std::vector<simdjson::padded_string> Padded(const Input& input) {
  std::vector<simdjson::padded_string> padded;
  for (const std::string& value : input.values) padded.emplace_back(value);
  return padded;
}

void BM_BareSimdjson(benchmark::State& state) {
  const Input input = Track();
  const auto padded = Padded(input);
  simdjson::ondemand::parser parser;
  size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(BareLoop(&parser, padded[i++ % kEvents]));
  state.counters["bytes"] = static_cast<double>(input.bytes) / kEvents;
}
BENCHMARK(BM_BareSimdjson);

void Decode(benchmark::State& state, const Input& input, bool compare) {
  const Fields fields = HundredFields();
  Decoder decoder{Settings{}};
  Event event;
  std::string_view user;
  size_t i = 0;
  const auto one = [&] {
    if (!decoder.decode(input.record(i++ % kEvents), fields, &event, &user).ok()) std::abort();
    benchmark::DoNotOptimize(event.properties.data());
  };
  for (auto _ : state) one();
  state.counters["bytes"] = static_cast<double>(input.bytes) / kEvents;
  if (!compare) return;

  // Rounds of both by turns, the best of each: the ratio, whatever else the machine does.
  const auto padded = Padded(input);
  simdjson::ondemand::parser parser;
  int64_t bare_best = INT64_MAX;
  int64_t decode_best = INT64_MAX;
  for (int round = 0; round < 50; ++round) {
    const int64_t begin = ThreadNanos();
    for (const auto& text : padded) benchmark::DoNotOptimize(BareLoop(&parser, text));
    const int64_t middle = ThreadNanos();
    for (size_t n = 0; n < kEvents; ++n) one();
    const int64_t end = ThreadNanos();
    bare_best = std::min(bare_best, middle - begin);
    decode_best = std::min(decode_best, end - middle);
  }
  state.counters["vs_bare"] = static_cast<double>(decode_best) / static_cast<double>(bare_best);
}

void BM_DecodeTrack(benchmark::State& state) {
  Decode(state, Track(), true);
}
BENCHMARK(BM_DecodeTrack);

void BM_DecodePage(benchmark::State& state) {
  Decode(state, Page(), false);
}
BENCHMARK(BM_DecodePage);

void BM_DecodeIdentify(benchmark::State& state) {
  Decode(state, Identify(), false);
}
BENCHMARK(BM_DecodeIdentify);

void BM_DecodeCleverTap(benchmark::State& state) {
  Decode(state, CleverTap(), false);
}
BENCHMARK(BM_DecodeCleverTap);

void BM_DecodeProtobuf(benchmark::State& state) {
  Decode(state, Protobuf(), false);
}
BENCHMARK(BM_DecodeProtobuf);

}  // namespace
}  // namespace segmentd
