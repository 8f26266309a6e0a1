#include "tests/unit/mutated_records.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace segmentd {
namespace {

constexpr const char* kJson[] = {
    R"({"type":"track","messageId":"@id","userId":"@user","event":"Charged","properties":{"amount":512.5,"items":[{"sku":"a","n":[1,2]},{"sku":"b"}],"cart":{"id":7}},"timestamp":"@iso"})",
    R"({"type":"identify","userId":"@user","traits":{"plan":"gold","address":{"city":"Pune"},"tags":["a",1,true,null],"old":null}})",
    R"({"type":"identify","anonymousId":"@user","context":{"traits":{"plan":"x"},"page":{"url":"p"}}})",
    R"({"type":"page","userId":"@user","context":{"page":{"url":"https:\/\/e.org\/\u00e9","referrer":"r","title":"t"}},"timestamp":@ms})",
    R"({"type":"screen","userId":"@user","name":"Home","properties":{"tags":[["x"],[]]}})",
    R"({"type":"alias","userId":"@user","previousId":"a"})",
    R"({"type":"group","userId":"@user","groupId":"g"})",
    R"({"type":"event","identity":"@user","ts":@sec,"evtName":"E","evtData":{"amount":1e3,"items":[{"sku":"z"}]}})",
    R"({"type":"profile","objectId":"@user","profileData":{"a":{"$set":1},"b":{"$add":["x"],"$remove":"y"},"c":{"$delete":1},"d":{"$incr":2},"e":{"$decr":-2.5}}})",
    R"({"user_id":"@user","name":"E","time_ms":"@ms","properties":{"amount":{"number":5}}})",
    R"({"originalTimestamp":"2026-03-01T00:00:00Z","sentAt":"2026-03-01T00:00:02Z","receivedAt":"@iso","type":"track","event":"E","userId":"@user"})",
    R"({"d":[]})",
    R"({})",
    R"({"type":"track","userId":42,"event":"E","properties":{"amount":123456789012345678901234567890,"x":{"x":{"x":{"x":[[[[{}]]]]}}}}})"};
// One of Protobuf besides.
constexpr size_t kBodies = std::size(kJson) + 1;

std::string WellFormed(size_t which, const std::string& user, const std::string& id, Time now) {
  if (which < std::size(kJson)) {
    return absl::StrReplaceAll(kJson[which], {{"@user", user},
                                              {"@id", id},
                                              {"@iso", FormatTimestamp(now)},
                                              {"@ms", absl::StrCat(now.millis())},
                                              {"@sec", absl::StrCat(now.millis() / 1000)}});
  }
  segments::v1::Event message;
  message.set_user_id(user);
  message.set_name("E");
  message.set_message_id(id);
  message.set_time_ms(now.millis());
  (*message.mutable_properties())["amount"].set_number(1.5);
  auto* list = (*message.mutable_properties())["items[].sku"].mutable_list();
  list->add_values()->set_string("s");
  list->add_values()->set_boolean(true);
  auto* command = message.add_profile();
  command->set_operation(segments::v1::ProfileCommand::ADD);
  command->set_property("tags");
  command->mutable_value()->mutable_list()->add_values()->set_string("v");
  return Serialized(message);
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
    : engine_(seed), users_(std::move(users)) {}

MutatedRecord MutatedRecords::next(Time now) {
  const std::string& user = users_[below(users_.size())];
  const std::string id = absl::StrCat("m", ++made_);
  MutatedRecord record{.body = WellFormed(below(kBodies), user, id, now)};
  if (!one_in(8)) {
    for (size_t n = 1 + below(3); n > 0; --n) {
      mutate(WellFormed(below(kBodies), user, id, now), &record.body);
    }
  }
  static constexpr std::string_view kTypes[] = {"application/json", "application/x-protobuf",
                                                "text/plain"};
  if (!record.body.starts_with('{') && one_in(2)) {
    record.content_type = kTypes[1];
  } else if (one_in(16)) {
    record.content_type = kTypes[below(3)];
  }
  if (!one_in(64)) record.key = one_in(32) ? "42" : user;
  return record;
}

void MutatedRecords::mutate(const std::string& other, std::string* body) {
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
      *body = body->substr(0, at) + other.substr(below(other.size()));
      break;
    }
    case 7:
      if (body->size() > 1) std::swap((*body)[at], (*body)[below(body->size())]);
      break;
  }
}

}  // namespace segmentd
