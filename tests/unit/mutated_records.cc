#include "tests/unit/mutated_records.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace segmentd {
namespace {

std::vector<std::string> WellFormed(const std::string& user) {
  std::vector<std::string> bodies = {
      R"({"type":"track","messageId":"m-1","userId":"u","event":"Charged","properties":{"amount":512.5,"items":[{"sku":"a","n":[1,2]},{"sku":"b"}],"cart":{"id":7}},"timestamp":"2026-04-01T09:00:00Z"})",
      R"({"type":"identify","userId":"u","traits":{"plan":"gold","address":{"city":"Pune"},"tags":["a",1,true,null],"old":null}})",
      R"({"type":"identify","anonymousId":"u","context":{"traits":{"plan":"x"},"page":{"url":"p"}}})",
      R"({"type":"page","userId":"u","context":{"page":{"url":"https:\/\/e.org\/\u00e9","referrer":"r","title":"t"}},"timestamp":1775034000000})",
      R"({"type":"screen","userId":"u","name":"Home","properties":{"tags":[["x"],[]]}})",
      R"({"type":"alias","userId":"u","previousId":"a"})",
      R"({"type":"group","userId":"u","groupId":"g"})",
      R"({"type":"event","identity":"u","ts":1775034000,"evtName":"E","evtData":{"amount":1e3,"items":[{"sku":"z"}]}})",
      R"({"type":"profile","objectId":"u","profileData":{"a":{"$set":1},"b":{"$add":["x"],"$remove":"y"},"c":{"$delete":1},"d":{"$incr":2},"e":{"$decr":-2.5}}})",
      R"({"user_id":"u","name":"E","time_ms":"1775033999000","properties":{"amount":{"number":5}}})",
      R"({"originalTimestamp":"2026-03-01T00:00:00Z","sentAt":"2026-03-01T00:00:02Z","receivedAt":"2026-04-01T08:59:59Z","type":"track","event":"E","userId":"u"})",
      R"({"d":[]})",
      R"({})",
      R"({"type":"track","userId":42,"event":"E","properties":{"amount":123456789012345678901234567890,"x":{"x":{"x":{"x":[[[[{}]]]]}}}}})"};
  for (std::string& body : bodies) {
    body = absl::StrReplaceAll(body, {{":\"u\"", absl::StrCat(":\"", user, "\"")}});
  }
  segments::v1::Event message;
  message.set_user_id(user);
  message.set_name("E");
  message.set_message_id("m");
  message.set_time_ms(MutatedRecords::kNow);
  (*message.mutable_properties())["amount"].set_number(1.5);
  auto* list = (*message.mutable_properties())["items[].sku"].mutable_list();
  list->add_values()->set_string("s");
  list->add_values()->set_boolean(true);
  auto* command = message.add_profile();
  command->set_operation(segments::v1::ProfileCommand::ADD);
  command->set_property("tags");
  command->mutable_value()->mutable_list()->add_values()->set_string("v");
  bodies.push_back(Serialized(message));
  return bodies;
}

}  // namespace

std::string Serialized(const segments::v1::Event& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

MutatedRecords::MutatedRecords(uint64_t seed, std::vector<std::string> users)
    : engine_(seed), users_(std::move(users)) {
  for (const std::string& user : users_) bodies_.push_back(WellFormed(user));
}

MutatedRecord MutatedRecords::next() {
  const size_t user = below(users_.size());
  const std::vector<std::string>& bodies = bodies_[user];
  MutatedRecord record{.body = bodies[below(bodies.size())]};
  if (!one_in(8)) mutate(bodies, &record.body);
  static constexpr std::string_view kTypes[] = {"application/json", "application/x-protobuf",
                                                "text/plain"};
  if (!record.body.starts_with('{') && one_in(2)) {
    record.content_type = kTypes[1];
  } else if (one_in(16)) {
    record.content_type = kTypes[below(3)];
  }
  if (!one_in(64)) record.key = one_in(32) ? "42" : users_[user];
  return record;
}

void MutatedRecords::mutate(const std::vector<std::string>& bodies, std::string* body) {
  static const std::vector<std::string> kPieces = {"{",
                                                   "}",
                                                   "[",
                                                   "]",
                                                   "\"",
                                                   "\\",
                                                   ",",
                                                   ":",
                                                   "null",
                                                   "true",
                                                   "1e999",
                                                   "-0",
                                                   "\\ud800",
                                                   "\\u0000",
                                                   "\xFF",
                                                   "\xC3\xA9",
                                                   std::string(1, '\0'),
                                                   "$add",
                                                   "\"type\":\"page\",",
                                                   "\"userId\":\"u\",",
                                                   "\"amount\":1,",
                                                   "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                                                   "\n",
                                                   " ",
                                                   "\xEF\xBB\xBF",
                                                   "99999999999999999999",
                                                   "\"timestamp\":\"x\",",
                                                   "\"userId\":null,"};
  for (size_t n = 1 + below(3); n > 0; --n) {
    const size_t at = body->empty() ? 0 : below(body->size());
    switch (below(8)) {
      case 0:
        if (!body->empty()) (*body)[at] = static_cast<char>(engine_());
        break;
      case 1:
        body->resize(at);
        break;
      case 2:
        body->insert(at, 1, static_cast<char>(engine_()));
        break;
      case 3:
        body->erase(at, 1 + below(8));
        break;
      case 4:
        body->insert(at, kPieces[below(kPieces.size())]);
        break;
      case 5:
        body->insert(at, body->substr(below(body->size() + 1), 20));
        break;
      case 6: {
        const std::string& other = bodies[below(bodies.size())];
        *body = body->substr(0, at) + other.substr(below(other.size()));
        break;
      }
      case 7:
        if (body->size() > 1) std::swap((*body)[at], (*body)[below(body->size())]);
        break;
    }
  }
}

}  // namespace segmentd
