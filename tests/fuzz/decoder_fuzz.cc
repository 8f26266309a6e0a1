// Any bytes as a record: an event or a dead letter, the same from a decoder that has seen others
// and from a new one, with and without definitions.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "proto/segments/v1/event.pb.h"
#include "segment/fields.h"
#include "stream/decoder.h"

namespace segmentd {
namespace {

void Check(bool holds) {
  if (!holds) std::abort();
}

// Reads all that a view shows, so that the sanitizer sees it.
size_t Read(const Value& value) {
  size_t sum = value.type() == ValueType::kString ? std::string(value.text()).size() : 0;
  for (const Value& item :
       value.type() == ValueType::kList ? value.items() : absl::Span<const Value>()) {
    Check(item.type() != ValueType::kList && item.type() != ValueType::kMissing);
    sum += Read(item);
  }
  return sum;
}

size_t Read(const Event& event, std::string_view user) {
  size_t sum = std::string(user).size() + std::string(event.name).size() +
               std::string(event.message_id).size();
  for (const EventProperty& p : event.properties) sum += Read(p.value);
  for (const ProfileCommand& c : event.profile)
    sum += std::string(c.property).size() + Read(c.value);
  return sum;
}

void One(std::string_view body, std::string_view content_type) {
  static const Fields* const kRich = [] {
    auto* fields = new Fields();
    for (const char* path : {"a", "a.b", "a[]", "a[].b", "a[].b[].c", "items[].sku", "amount",
                             "context.page.url", "context.traits", "url", "referrer"}) {
      fields->add(path);
    }
    return fields;
  }();
  static const Fields* const kNone = new Fields();
  static Decoder* const used = new Decoder(Settings{});

  const HeaderView header{"content-type", content_type};
  Record record{.record_time = Time::Millis(1'775'034'000'000),
                .has_key = true,
                .key = "u",
                .value = body,
                .headers = {&header, 1}};
  Event event;
  std::string_view user;
  const DecodeResult rich = used->decode(record, *kRich, &event, &user);
  const size_t read = rich.ok() ? Read(event, user) : std::string(rich.detail).size();
  Check(rich.ok() || !rich.detail.empty());
  const DecodeError error = rich.error;
  if (content_type == "application/x-protobuf" && rich.ok()) {
    Check(segments::v1::Event().ParseFromArray(body.data(), static_cast<int>(body.size())));
  }

  Decoder fresh{Settings{}};
  const DecodeResult again = fresh.decode(record, *kRich, &event, &user);
  Check(again.error == error && read == (again.ok() ? Read(event, user) : again.detail.size()));
  Check(used->decode(record, *kNone, &event, &user).error == error);
  Check(used->decode_line(body, Offset(1), *kRich, &event, &user).ok() ? Read(event, user) != 0
                                                                       : true);
}

}  // namespace
}  // namespace segmentd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Copied to its exact size, so that reading past its end is seen.
  const std::string body(reinterpret_cast<const char*>(data), size);
  segmentd::One(body, "application/json");
  segmentd::One(body, "application/x-protobuf");
  return 0;
}
