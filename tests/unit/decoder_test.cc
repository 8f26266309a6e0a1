#include "stream/decoder.h"

#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "simdjson.h"

#include "proto/segments/v1/event.pb.h"

namespace segmentd {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// 2026-04-01T09:00:00Z
constexpr int64_t kNow = 1'775'034'000'000;

std::string Show(const Value& value) {
  switch (value.type()) {
    case ValueType::kMissing:
      return "missing";
    case ValueType::kString:
      return fmt::format("'{}'", value.text());
    case ValueType::kNumber:
      return fmt::format("{}", value.number());
    case ValueType::kBoolean:
      return value.boolean() ? "true" : "false";
    case ValueType::kList:
      break;
  }
  std::string items;
  for (const Value& item : value.items()) items += (items.empty() ? "" : ",") + Show(item);
  return "[" + items + "]";
}

std::string_view Show(ProfileOperation operation) {
  constexpr std::string_view kNames[] = {"", "set", "delete", "add", "remove", "incr", "decr"};
  return kNames[static_cast<size_t>(operation)];
}

// The properties by path, the profile commands in order.
std::string Show(const Event& event, std::string_view user, const Fields& fields) {
  std::string shown = fmt::format("{}: {} @{}", user, event.name, event.time.millis() - kNow);
  if (!event.message_id.empty()) shown += fmt::format(" #{}", event.message_id);
  std::map<std::string, std::string> properties;
  for (const EventProperty& p : event.properties) {
    EXPECT_TRUE(properties.emplace(fields.path(p.field), Show(p.value)).second)
        << "twice: " << fields.path(p.field);
  }
  for (const auto& [path, value] : properties) shown += fmt::format(" {}={}", path, value);
  for (const ProfileCommand& c : event.profile) {
    shown += fmt::format(" | {} {}", Show(c.operation), c.property);
    if (!c.value.missing()) shown += "=" + Show(c.value);
  }
  return shown;
}

class DecoderTest : public testing::Test {
 protected:
  // What a record becomes: the event, or "code: detail".
  std::string decode(Record record) {
    record.record_time = Time::Millis(kNow);
    record.offset = Offset(7);
    Event event;
    std::string_view user;
    const DecodeResult result = decoder_.decode(record, fields_, &event, &user);
    if (!result.ok()) {
      EXPECT_FALSE(DecodeErrorCode(result.error).empty());
      EXPECT_FALSE(result.detail.empty());
      EXPECT_FALSE(result.time_replaced);
      return fmt::format("{}: {}", DecodeErrorCode(result.error), result.detail);
    }
    EXPECT_EQ(event.record_time, record.record_time);
    EXPECT_EQ(event.offset, record.offset);
    return Show(event, user, fields_) + (result.time_replaced ? " (time replaced)" : "");
  }
  std::string decode(std::string_view body, std::string_view key = "u") {
    return decode(Record{.has_key = true, .key = key, .value = body});
  }
  std::string decode_as(std::string_view content_type, std::string_view body) {
    const HeaderView header{.name = "content-type", .value = content_type};
    return decode(Record{.has_key = true, .key = "u", .value = body, .headers = {&header, 1}});
  }
  std::string decode(const segments::v1::Event& message) {
    return decode_as("application/x-protobuf", message.SerializeAsString());
  }
  std::string track(std::string_view members) {
    return decode(fmt::format(R"({{"type":"track","userId":"u","event":"E",{}}})", members));
  }
  std::string properties(std::string_view object) {
    return track(fmt::format(R"("properties":{})", object));
  }
  std::string identify(std::string_view traits) {
    return decode(fmt::format(R"({{"type":"identify","userId":"u","traits":{}}})", traits));
  }
  std::string clever_tap(std::string_view profile) {
    return decode(fmt::format(R"({{"type":"profile","identity":"u","profileData":{}}})", profile));
  }
  void refer(std::initializer_list<const char*> paths) {
    for (const char* path : paths) fields_.add(path);
  }

  Fields fields_;
  Decoder decoder_{Settings{}};
};

TEST_F(DecoderTest, UnderstandsATrackCall) {
  refer({"amount", "currency", "cart.id", "gift"});
  EXPECT_EQ(
      decode(R"({"type":"track","messageId":"m-1","userId":"u","anonymousId":"a","event":"Charged",
                       "properties":{"amount":512.5,"other":[{"x":null}],"currency":"INR","cart":{"id":7,"z":1},"gift":true},
                       "context":{"library":{"name":"x","version":"1"}},"timestamp":"2026-04-01T08:59:59.5Z",
                       "integrations":{}})"),
      "u: Charged @-500 #m-1 amount=512.5 cart.id=7 currency='INR' gift=true");
}

TEST_F(DecoderTest, TakesKeysInAnyOrder) {
  refer({"url"});
  EXPECT_EQ(
      decode(
          R"({"timestamp":1775033999000,"context":{"page":{"url":"c"}},"messageId":"m","userId":"u","type":"page"})"),
      "u: Page Viewed @-1000 #m url='c'");
  EXPECT_EQ(decode(R"({"traits":{"plan":"gold"},"userId":"u","type":"identify"})"),
            "u:  @0 | set plan='gold'");
  EXPECT_EQ(
      decode(
          R"({"evtData":{"url":"e"},"properties":{"url":"p"},"identity":"u","evtName":"E","type":"event"})"),
      "u: E @0 url='e'");
  EXPECT_EQ(
      decode(
          R"({"properties":{"url":"p"},"evtData":{"url":"e"},"userId":"u","event":"E","type":"track"})"),
      "u: E @0 url='p'");
}

TEST_F(DecoderTest, LeavesOutWhatNoDefinitionRefersTo) {
  EXPECT_EQ(properties(R"({"amount":1,"items":[{"sku":"a"}]})"), "u: E @0");
}

TEST_F(DecoderTest, ReachesNestedPropertiesAndLists) {
  refer({"a.b.c", "tags", "items[].sku", "items[].tags", "orders[].items[].sku", "list[]",
         "deep.list[].x"});
  EXPECT_EQ(properties(R"({"a":{"b":{"c":1}},"tags":["x",2,true]})"),
            "u: E @0 a.b.c=1 tags=['x',2,true]");
  EXPECT_EQ(properties(
                R"({"items":[{"sku":"a","n":1,"tags":["p","q"]},{"n":2},{"sku":"b","tags":"r"}]})"),
            "u: E @0 items[].sku=['a','b'] items[].tags=['p','q','r']");
  EXPECT_EQ(
      properties(R"({"orders":[{"items":[{"sku":"a"},{"sku":"b"}]},{"items":[{"sku":"c"}]}]})"),
      "u: E @0 orders[].items[].sku=['a','b','c']");
  EXPECT_EQ(properties(R"({"list":[1,2],"deep":{"list":[{"x":false}]}})"),
            "u: E @0 deep.list[].x=[false] list[]=[1,2]");
  // One element is a list still, and where a list is meant an object is none.
  EXPECT_EQ(properties(R"({"items":[{"sku":"a"}]})"), "u: E @0 items[].sku=['a']");
  EXPECT_EQ(properties(R"({"items":{"sku":"a","[]":{"sku":"b"}}})"), "u: E @0");
}

TEST_F(DecoderTest, TellsMissingFromEmpty) {
  refer({"x", "items[].sku"});
  EXPECT_EQ(properties(R"({"x":null})"), "u: E @0");
  EXPECT_EQ(properties(R"({"x":""})"), "u: E @0 x=''");
  EXPECT_EQ(properties(R"({"x":[]})"), "u: E @0 x=[]");
  EXPECT_EQ(properties(R"({"x":[null]})"), "u: E @0 x=[]");
  EXPECT_EQ(properties(R"({"x":[1,null,[2,[3]],{"y":4}]})"), "u: E @0 x=[1,2,3]");
  // An object is there, but has no value to compare.
  EXPECT_EQ(properties(R"({"x":{"y":1}})"), "u: E @0 x=[]");
  EXPECT_EQ(properties(R"({"items":[]})"), "u: E @0");
  EXPECT_EQ(properties(R"({"items":[{"n":1},{"sku":null}]})"), "u: E @0");
}

TEST_F(DecoderTest, ReachesTheContext) {
  refer({"context.ip", "context.page.url", "context.traits.plan", "context.device.type", "ip"});
  EXPECT_EQ(
      track(
          R"("context":{"ip":"1.2.3.4","page":{"url":"p"},"traits":{"plan":"gold"},"device":{"type":"ios"}})"),
      "u: E @0 context.device.type='ios' context.ip='1.2.3.4' context.page.url='p' "
      "context.traits.plan='gold'");
  // Which a property of that name does not.
  EXPECT_EQ(properties(R"({"context":{"ip":"x"},"context.ip":"y","ip":"z"})"), "u: E @0 ip='z'");
  refer({"context[a]", "context[a].b", "context[]", "contextual"});
  EXPECT_EQ(properties(R"({"context[a]":"x","context[a]":{"b":"y"},"context[a].b":"z",)"
                       R"("context[]":["v"],"contextual":"w"})"),
            "u: E @0 contextual='w'");
}

TEST_F(DecoderTest, AKeyMayBeWrittenAsAPath) {
  refer({"cart.id", "cart.items[].sku"});
  EXPECT_EQ(properties(R"({"cart.id":5})"), "u: E @0 cart.id=5");
  EXPECT_EQ(properties(R"({"cart":{"items[].sku":["a","b"]}})"),
            "u: E @0 cart.items[].sku=['a','b']");
  EXPECT_EQ(properties(R"({"cart":{"id":1},"cart.id":2})"), "u: E @0 cart.id=2");
  EXPECT_EQ(properties(R"({"cart.id":2,"cart":{"id":1}})"), "u: E @0 cart.id=1");
}

TEST_F(DecoderTest, OfDuplicateKeysTheLastWins) {
  refer({"a", "b.c", "b.d", "l", "items[].sku"});
  EXPECT_EQ(properties(R"({"a":1,"a":2})"), "u: E @0 a=2");
  EXPECT_EQ(properties(R"({"a":1,"a":null})"), "u: E @0");
  EXPECT_EQ(properties(R"({"b":{"c":1,"d":2},"b":{"d":3}})"), "u: E @0 b.d=3");
  EXPECT_EQ(properties(R"({"l":[1,2],"l":[3]})"), "u: E @0 l=[3]");
  EXPECT_EQ(properties(R"({"items":[{"sku":1,"sku":2},{"sku":3}],"a":1})"),
            "u: E @0 a=1 items[].sku=[2,3]");
  EXPECT_EQ(properties(R"({"items":[{"sku":1}],"items":[]})"), "u: E @0");
  EXPECT_EQ(track(R"("properties":{"a":1,"b":{"c":2}},"properties":{"b":{"d":3}})"),
            "u: E @0 b.d=3");
  EXPECT_EQ(track(R"("properties":{"a":1},"properties":null)"), "u: E @0");
  EXPECT_EQ(track(R"("event":"F","event":"G","userId":"x","userId":"u")"), "u: G @0");
  EXPECT_EQ(
      decode(R"({"type":"track","event":"E","userId":"u","traits":{"p":1},"type":"identify"})"),
      "u:  @0 | set p=1");
  EXPECT_EQ(identify(R"({"p":1,"q":{"r":1,"s":2},"q":{"s":3},"p":null})"),
            "u:  @0 | delete p | set q.s=3");
  EXPECT_EQ(identify(R"({"q":{"r":1},"q":2,"t":3})"), "u:  @0 | set q=2 | set t=3");
  EXPECT_EQ(identify(R"({"a":1},"traits":{"b":2})"), "u:  @0 | set b=2");
  EXPECT_EQ(clever_tap(R"({"n":{"$incr":1,"$incr":2}})"), "u:  @0 | incr n=2");
}

TEST_F(DecoderTest, UnescapesKeysAndStrings) {
  refer({"a\"b", "é", "x"});
  EXPECT_EQ(properties(R"({"a\"b":"\u00e9\n\ud83d\ude00","\u00e9":1,"\u0078":2})"),
            "u: E @0 a\"b='é\n😀' x=2 é=1");
  EXPECT_EQ(decode(R"({"\u0074ype":"tr\u0061ck","userId":"\u0075","event":"E"})"), "u: E @0");
  EXPECT_EQ(properties("{\"x\":\"a\\u0000b\"}"), std::string("u: E @0 x='a\0b'", 15));
}

TEST_F(DecoderTest, UnderstandsPageAndScreenCalls) {
  refer({"url", "referrer", "title", "name", "category"});
  EXPECT_EQ(decode(R"({"type":"page","userId":"u","properties":{"url":"p","title":"t"},
                       "context":{"page":{"url":"c","referrer":"r","title":"no"}}})"),
            "u: Page Viewed @0 referrer='r' title='t' url='p'");
  EXPECT_EQ(
      decode(
          R"({"type":"page","userId":"u","name":"Home","category":"Docs","context":{"page":{"url":"c"}}})"),
      "u: Page Viewed @0 category='Docs' name='Home' url='c'");
  EXPECT_EQ(
      decode(
          R"({"type":"page","userId":"u","properties":{"url":null},"context":{"page":{"url":"c"}}})"),
      "u: Page Viewed @0 url='c'");
  EXPECT_EQ(
      decode(R"({"type":"page","userId":"u","context":{"page":{"url":"c"},"page":{"title":"t"}}})"),
      "u: Page Viewed @0 title='t'");
  EXPECT_EQ(
      decode(
          R"({"type":"screen","userId":"u","name":"Home","properties":{"url":"p"},"context":{"page":{"title":"t"}}})"),
      "u: Screen Viewed @0 name='Home' url='p'");
  EXPECT_EQ(decode(R"({"type":"screen","userId":"u","name":"Home","properties":{"name":"Mine"}})"),
            "u: Screen Viewed @0 name='Mine'");
  // Only page calls take these from the context.
  EXPECT_EQ(track(R"("context":{"page":{"url":"c"}})"), "u: E @0");
}

TEST_F(DecoderTest, TraitsSetTheProfile) {
  EXPECT_EQ(
      identify(
          R"({"plan":"gold","age":42,"vip":true,"old":null,"address":{"city":"Pune","geo":{"lat":18.5}},
                         "tags":["a","b"],"none":[],"items":[{"sku":"x","n":1},{"sku":"y"}],"mixed":[1,{"z":2}],"empty":{}})"),
      "u:  @0 | set plan='gold' | set age=42 | set vip=true | delete old | set address.city='Pune' "
      "| set "
      "address.geo.lat=18.5 | set tags=['a','b'] | set none=[] | set items[].sku=['x','y'] | set "
      "items[].n=[1] | set "
      "mixed=[1] | set mixed[].z=[2]");
  EXPECT_EQ(identify(R"({"$set":1,"a":{"$incr":2}})"), "u:  @0 | set $set=1 | set a.$incr=2");
  EXPECT_EQ(identify("null"), "u:  @0");
  EXPECT_EQ(identify("[]"), "u:  @0");
  EXPECT_EQ(identify(R"({"":1})"), "bad_profile_command: a profile property's name is empty");
  // Where RudderStack's SDKs write them.
  EXPECT_EQ(decode(R"({"type":"identify","userId":"u","context":{"traits":{"plan":"gold"}}})"),
            "u:  @0 | set plan='gold'");
  EXPECT_EQ(
      decode(
          R"({"context":{"traits":{"plan":"gold"}},"traits":{"a":1},"type":"identify","userId":"u"})"),
      "u:  @0 | set a=1");
  // Only an identify call is about the user's traits.
  EXPECT_EQ(track(R"("traits":{"a":1},"context":{"traits":{"plan":"gold"}})"), "u: E @0");
  EXPECT_EQ(decode(R"({"type":"group","userId":"u","groupId":"g","traits":{"a":1}})"), "u:  @0");
}

TEST_F(DecoderTest, AliasAndGroupHaveNoEffect) {
  refer({"x"});
  EXPECT_EQ(
      decode(
          R"({"type":"alias","userId":"u","previousId":"a","messageId":"m","properties":{"x":1}})"),
      "u:  @0 #m");
  EXPECT_EQ(decode(R"({"type":"group","userId":"u","groupId":"g"})"), "u:  @0");
}

TEST_F(DecoderTest, UnderstandsCleverTapEvents) {
  refer({"Amount", "Items[].name", "when", "context.ip"});
  EXPECT_EQ(
      decode(R"({"identity":"u","ts":1775033990,"type":"event","evtName":"Charged",
                       "evtData":{"Amount":300,"when":"$D_1775033990","Items":[{"name":"a"},{"name":"b"}]},"context":{"ip":"i"}})"),
      "u: Charged @-10000 Amount=300 Items[].name=['a','b'] context.ip='i' when='$D_1775033990'");
  EXPECT_EQ(decode(R"({"objectId":"u","type":"event","evtName":"E"})"), "u: E @0");
  EXPECT_EQ(
      decode(R"({"identity":"u","objectId":"o","type":"event","evtName":"E","ts":1775033990.25})"),
      "u: E @-9750");
}

TEST_F(DecoderTest, UnderstandsCleverTapProfileCommands) {
  EXPECT_EQ(
      clever_tap(
          R"({"Name":"Jack","phones":{"$set":["1","2"]},"tags":{"$add":["a"],"$remove":["b","c"]},
                           "old":{"$delete":1},"n":{"$incr":2.5},"m":{"$decr":1},"gone":null,"one":{"$add":"x"},
                           "home":{"city":"Pune"},"nothing":{"$add":[]}})"),
      "u:  @0 | set Name='Jack' | set phones=['1','2'] | add tags=['a'] | remove tags=['b','c'] | "
      "delete old | incr "
      "n=2.5 | decr m=1 | delete gone | add one=['x'] | set home.city='Pune'");
  EXPECT_THAT(clever_tap(R"({"$set":{"a":1}})"),
              StartsWith("bad_profile_command: \"$set\" can't stand here"));
  EXPECT_THAT(clever_tap(R"({"a":{"$increment":1}})"),
              StartsWith("bad_profile_command: \"$increment\""));
  EXPECT_THAT(clever_tap(R"({"a":{"$set":{"$add":1}}})"),
              StartsWith("bad_profile_command: \"$add\""));
  EXPECT_THAT(clever_tap(R"({"a":[{"$add":1}]})"), StartsWith("bad_profile_command: \"$add\""));
  EXPECT_EQ(clever_tap(R"({"a":{"$incr":"1"}})"),
            "bad_profile_command: \"a\": $incr and $decr take a number");
  EXPECT_THAT(clever_tap(R"({"a":{"$add":{"b":1}}})"), HasSubstr("$add and $remove take"));
  EXPECT_THAT(clever_tap(R"({"a":{"$add":[{"b":1}]}})"), HasSubstr("$add and $remove take"));
  EXPECT_THAT(clever_tap(R"({"a":{"$remove":null}})"), HasSubstr("$add and $remove take"));
}

TEST_F(DecoderTest, TheTypeTellsTheFormat) {
  EXPECT_EQ(
      decode(R"({"type":"track","userId":"u","event":"E","identity":"x","evtName":"F","ts":1})"),
      "u: E @0");
  EXPECT_EQ(
      decode(
          R"({"type":"event","identity":"u","evtName":"F","userId":"x","event":"E","timestamp":1})"),
      "u: F @0");
  EXPECT_EQ(decode(R"({"type":"Track","userId":"u","event":"E"})"),
            "unknown_type: type \"Track\" is not known: write track, identify, page, screen, alias "
            "or group");
  EXPECT_EQ(
      decode(R"({"userId":"u","event":"E"})"),
      "unknown_type: \"type\" is missing: write track, identify, page, screen, alias or group");
  EXPECT_EQ(decode(R"({"identity":"u","evtName":"E"})"),
            "unknown_type: \"type\" is missing: write event or profile");
  EXPECT_EQ(decode(R"({"identity":"u","type":"upload"})"),
            "unknown_type: type \"upload\" is not known: write event or profile");
  EXPECT_THAT(decode(R"({"userId":"u","type":7})"), StartsWith("unknown_type: type \"7\""));
  EXPECT_THAT(decode(R"({"userId":"u","type":["track"]})"),
              StartsWith("wrong_type: \"type\" is no string"));
  EXPECT_EQ(
      decode("{}"),
      "unknown_type: \"type\" is missing: write track, identify, page, screen, alias or group");
  EXPECT_EQ(decode(R"({"d":[{"type":"event","identity":"u","evtName":"E"}]})"),
            "batch: a batch of events: send each as a record of its own");
  EXPECT_THAT(decode(R"({"batch":[],"sentAt":"x"})"), StartsWith("batch: "));
  EXPECT_THAT(decode(fmt::format(R"({{"userId":"u","type":"{}é\n"}})", std::string(63, 'x'))),
              HasSubstr("\"" + std::string(63, 'x') + "…\""));
}

TEST_F(DecoderTest, TheContentTypeTellsTheFormat) {
  constexpr std::string_view kTrack = R"({"type":"track","userId":"u","event":"E"})";
  for (const char* type :
       {"application/json", "Application/JSON; charset=utf-8", " application/json ", ""}) {
    EXPECT_EQ(decode_as(type, kTrack), "u: E @0") << type;
  }
  for (const char* type : {"text/plain", "application/avro", "json"}) {
    EXPECT_EQ(decode_as(type, kTrack),
              "unknown_content_type: the content-type is neither application/json nor "
              "application/x-protobuf");
  }
  EXPECT_THAT(decode_as("application/x-protobuf", kTrack), StartsWith("malformed_protobuf: "));
  segments::v1::Event message;
  message.set_user_id("u");
  message.set_name("E");
  EXPECT_EQ(decode_as("application/X-Protobuf", message.SerializeAsString()), "u: E @0");
  EXPECT_THAT(decode_as("application/json", message.SerializeAsString()),
              StartsWith("malformed_json: "));
  EXPECT_THAT(decode(message.SerializeAsString()), StartsWith("malformed_json: "));
  // The last of several.
  const HeaderView headers[] = {
      {"content-type", "text/plain"}, {"other", "x"}, {"Content-Type", "application/json"}};
  EXPECT_EQ(decode(Record{.has_key = true, .key = "u", .value = kTrack, .headers = headers}),
            "u: E @0");
}

TEST_F(DecoderTest, TheKeyIsTheUser) {
  constexpr std::string_view kTrack =
      R"({"type":"track","userId":"u","anonymousId":"a","event":"E"})";
  EXPECT_EQ(decode(kTrack, "v"), "key_mismatch: the record's key is not the ID of the body's user");
  EXPECT_EQ(decode(kTrack, "a"), "key_mismatch: the record's key is not the ID of the body's user");
  EXPECT_EQ(decode(kTrack, ""), "key_mismatch: the record's key is not the ID of the body's user");
  EXPECT_EQ(decode(kTrack, "u\xFF"),
            "invalid_utf8: the record's key is not UTF-8; it must be the user's ID");
  EXPECT_EQ(decode(Record{.value = kTrack}),
            "missing_key: the record has no key; it must be the user's ID");
  for (const char* user : {R"("")", "null"}) {
    EXPECT_EQ(
        decode(fmt::format(R"({{"type":"track","userId":{},"anonymousId":"a","event":"E"}})", user),
               "a"),
        "a: E @0");
  }
  EXPECT_EQ(decode(R"({"type":"track","anonymousId":"a","event":"E"})", "a"), "a: E @0");
  EXPECT_EQ(decode(R"({"type":"track","userId": 42 ,"event":"E"})", "42"), "42: E @0");
  EXPECT_EQ(decode(R"({"type":"track","userId":123456789012345678901234567890,"event":"E"})",
                   "123456789012345678901234567890"),
            "123456789012345678901234567890: E @0");
  EXPECT_EQ(decode(R"({"type":"track","userId":"日本","event":"E"})", "日本"), "日本: E @0");
  EXPECT_EQ(decode(R"({"type":"track","userId":"","event":"E"})", ""),
            "no_user: neither \"userId\" nor \"anonymousId\" names the user");
  EXPECT_EQ(decode(R"({"type":"event","userId":"u","evtName":"E"})"),
            "no_user: neither \"identity\" nor \"objectId\" names the user");
  EXPECT_EQ(decode(R"({"type":"track","userId":true,"event":"E"})"),
            "wrong_type: \"userId\" is neither a string nor a number");
  EXPECT_EQ(decode(R"({"type":"track","userId":{"id":"u"},"event":"E"})"),
            "wrong_type: \"userId\" is neither a string nor a number");
  const std::string longest(kMaxIdBytes, 'x');
  EXPECT_EQ(
      decode(fmt::format(R"({{"type":"track","userId":"{}","event":"E"}})", longest), longest),
      longest + ": E @0");
  EXPECT_EQ(decode(fmt::format(R"({{"type":"track","userId":"{}y","event":"E"}})", longest),
                   longest + "y"),
            "too_long: \"userId\" has 1025 bytes; at most 1024 are allowed");
}

TEST_F(DecoderTest, MembersHaveTheirTypes) {
  EXPECT_EQ(track(R"("messageId":42)"), "u: E @0 #42");
  EXPECT_EQ(track(R"("messageId":null)"), "u: E @0");
  EXPECT_EQ(track(R"("messageId":[])"),
            "wrong_type: \"messageId\" is neither a string nor a number");
  EXPECT_THAT(track(fmt::format(R"("messageId":"{}")", std::string(1025, 'm'))),
              StartsWith("too_long: \"messageId\""));
  EXPECT_EQ(track(R"("event":42)"), "wrong_type: \"event\" is not a string");
  EXPECT_EQ(track(R"("event":"")"),
            "no_event_name: \"event\", the event's name, is missing or empty");
  EXPECT_EQ(track(R"("event":null)"),
            "no_event_name: \"event\", the event's name, is missing or empty");
  EXPECT_EQ(decode(R"({"type":"event","identity":"u"})"),
            "no_event_name: \"evtName\", the event's name, is missing or empty");
  EXPECT_EQ(properties("5"), "wrong_type: \"properties\" is not an object");
  EXPECT_EQ(properties("[1]"), "wrong_type: \"properties\" is not an object");
  EXPECT_EQ(track(R"("context":"x")"), "wrong_type: \"context\" is not an object");
  EXPECT_EQ(identify(R"("x")"), "wrong_type: \"traits\" is not an object");
  EXPECT_EQ(clever_tap("true"), "wrong_type: \"profileData\" is not an object");
  // As PHP writes empty objects.
  EXPECT_EQ(track(R"("properties":[],"context":[])"), "u: E @0");
  // What a call does not use may be anything.
  EXPECT_EQ(track(R"("traits":5,"evtData":[1],"profileData":{"$x":1},"name":[])"), "u: E @0");
}

TEST_F(DecoderTest, TimesAreTheEvents) {
  const auto at = [&](std::string_view timestamp) {
    return track(fmt::format(R"("timestamp":{})", timestamp));
  };
  EXPECT_EQ(at(R"("2026-04-01T09:00:00Z")"), "u: E @0");
  EXPECT_EQ(at(R"("2026-04-01T14:30:00.001+05:30")"), "u: E @1");
  EXPECT_EQ(at(R"("2026-04-01")"), "u: E @-32400000");
  EXPECT_EQ(at("1775034000001"), "u: E @1");
  EXPECT_EQ(at("1775034000001.9"), "u: E @1");
  EXPECT_EQ(at("1.775034e12"), "u: E @0");
  EXPECT_EQ(at("null"), "u: E @0");
  EXPECT_EQ(at("0"), fmt::format("u: E @{}", -kNow));
  EXPECT_EQ(at("-1"), fmt::format("u: E @{}", -1 - kNow));
  EXPECT_EQ(at(R"("0001-01-01")"), fmt::format("u: E @{}", -62'135'596'800'000 - kNow));
  // Seconds by mistake are a time in 1970.
  EXPECT_EQ(at("1775034000"), fmt::format("u: E @{}", 1775034000 - kNow));
  for (const char* bad : {R"("yesterday")", R"("")", R"("1775034000001")", "true", "[]", "{}",
                          "-1e18", R"("2026-02-30")"}) {
    EXPECT_THAT(at(bad), StartsWith("bad_timestamp: \"timestamp\" ")) << bad;
  }
  EXPECT_THAT(decode(R"({"type":"event","identity":"u","evtName":"E","ts":"soon"})"),
              StartsWith("bad_timestamp: \"ts\" "));
}

TEST_F(DecoderTest, TimesTooFarAheadAreReplaced) {
  const auto at = [&](std::string_view timestamp) {
    return track(fmt::format(R"("timestamp":{})", timestamp));
  };
  EXPECT_EQ(at(std::to_string(kNow + 120'000)), "u: E @120000");
  EXPECT_EQ(at(std::to_string(kNow + 120'001)), "u: E @0 (time replaced)");
  EXPECT_EQ(at("1e300"), "u: E @0 (time replaced)");
  EXPECT_EQ(at(R"("9999-12-31T23:59:59Z")"), "u: E @0 (time replaced)");
  decoder_ = Decoder(Settings{.max_future_skew = Duration::Millis(0)});
  EXPECT_EQ(at(std::to_string(kNow)), "u: E @0");
  EXPECT_EQ(at(std::to_string(kNow + 1)), "u: E @0 (time replaced)");
}

TEST_F(DecoderTest, TheOriginalTimestampStandsInCorrected) {
  EXPECT_EQ(track(R"("originalTimestamp":"2026-04-01T08:59:50Z")"), "u: E @-10000");
  EXPECT_EQ(track(R"("originalTimestamp":"2026-04-01T08:59:50Z","sentAt":"2026-04-01T08:59:51Z")"),
            "u: E @-10000");
  // Sent two seconds after it happened, and received at -1 s.
  EXPECT_EQ(
      track(
          R"("originalTimestamp":"2026-03-01T00:00:00Z","sentAt":"2026-03-01T00:00:02Z","receivedAt":"2026-04-01T08:59:59Z")"),
      "u: E @-3000");
  EXPECT_EQ(
      track(
          R"("timestamp":1775034000000,"originalTimestamp":"2026-03-01T00:00:00Z","sentAt":"x","receivedAt":"y")"),
      "u: E @0");
  EXPECT_EQ(track(R"("sentAt":"2026-03-01T00:00:02Z","receivedAt":"2026-04-01T08:59:59Z")"),
            "u: E @0");
  EXPECT_THAT(track(R"("originalTimestamp":"x")"),
              StartsWith("bad_timestamp: \"originalTimestamp\""));
  EXPECT_THAT(track(R"("originalTimestamp":1,"sentAt":"x")"),
              StartsWith("bad_timestamp: \"sentAt\""));
  EXPECT_THAT(
      track(R"("originalTimestamp":"0001-01-01","sentAt":"2026-01-01","receivedAt":"2025-01-01")"),
      StartsWith("bad_timestamp: receivedAt"));
}

TEST_F(DecoderTest, NumbersAreDoubles) {
  refer({"x"});
  const auto number = [&](std::string_view text) {
    return properties(fmt::format(R"({{"x":{}}})", text));
  };
  EXPECT_EQ(number("9007199254740992"), "u: E @0 x=9007199254740992");
  // 2^53 + 1 is no double: the even one of its neighbours.
  EXPECT_EQ(number("9007199254740993"), "u: E @0 x=9007199254740992");
  EXPECT_EQ(number("-9007199254740993"), "u: E @0 x=-9007199254740992");
  EXPECT_EQ(number("-0"), "u: E @0 x=-0");
  EXPECT_EQ(number("18446744073709551616"), fmt::format("u: E @0 x={}", 18446744073709551616.0));
  EXPECT_EQ(number("1234567890123456789012345678901234567890"),
            fmt::format("u: E @0 x={}", 1234567890123456789012345678901234567890.0));
  EXPECT_EQ(number("-99999999999999999999"), fmt::format("u: E @0 x={}", -99999999999999999999.0));
  EXPECT_EQ(number("0.1e1"), "u: E @0 x=1");
  EXPECT_EQ(number("1e-400"), "u: E @0 x=0");
  EXPECT_EQ(number("1E+0000000000000000000000001"), "u: E @0 x=10");
  EXPECT_EQ(number("1e-99999999999999999999"), "u: E @0 x=0");
  EXPECT_EQ(number("0e99999999999999999999"), "u: E @0 x=0");
  EXPECT_EQ(number("1.7976931348623157e308"), fmt::format("u: E @0 x={}", 1.7976931348623157e308));
  for (const char* huge : {"1e309", "-1e309", "1e99999999999999999999"}) {
    EXPECT_THAT(number(huge), StartsWith("bad_number: ")) << huge;
  }
  EXPECT_THAT(number("1" + std::string(400, '0')), StartsWith("bad_number: "));
  for (const char* bad : {"01", "-", "+1", ".5", "1.", "1e", "1e+", "0x10", "1_000", "NaN",
                          "Infinity", "-Infinity", "1 2", "12a", "--1"}) {
    EXPECT_THAT(number(bad), StartsWith("malformed_json: ")) << bad;
  }
  // Referred to or not.
  EXPECT_THAT(properties(R"({"y":1e309})"), StartsWith("bad_number: "));
  EXPECT_THAT(properties(R"({"y":1.})"), StartsWith("malformed_json: "));
}

TEST_F(DecoderTest, RefusesWhatIsNotJson) {
  const std::string good =
      R"({"type":"track","userId":"u","event":"E","properties":{"a":[1,{"b":"c"}],"t":true,"n":null}})";
  EXPECT_EQ(decode(good), "u: E @0");
  for (size_t size = 1; size < good.size(); ++size) {
    EXPECT_THAT(decode(good.substr(0, size)), StartsWith("malformed_json: ")) << size;
  }
  for (const char* bad : {"x",
                          "[]",
                          "5",
                          "null",
                          "\"{}\"",
                          "{",
                          "}",
                          "{]",
                          "[}",
                          "{\"a\":1,}",
                          "{,}",
                          "{\"a\"}",
                          "{\"a\" 1}",
                          "{\"a\":}",
                          "{1:2}",
                          "{\"a\":[1,]}",
                          "{\"a\":[1 2]}",
                          "{\"a\":[1}",
                          "{\"a\":{]}",
                          "{\"a\":tru}",
                          "{\"a\":truee}",
                          "{\"a\":nul}",
                          "{\"a\":nulll}",
                          "{\"a\":False}",
                          "{\"a\":'b'}",
                          "{a:1}",
                          "{\"a\":\"\\x\"}",
                          "{\"\\x\":1}",
                          "{\"a\":\"\\ud800\"}",
                          "{\"a\":\"\\u12\"}",
                          "{\"a\":\"b\nc\"}",
                          "{\"a\":\"b}",
                          "{} {}",
                          "{}x",
                          "{}}",
                          "{}]",
                          "{},",
                          "{/**/}",
                          "{\"a\":1}//",
                          "{\"a\":{\"b\":1}",
                          "{\"a\":[[]}",
                          "{\"a\":1 \"b\":2}",
                          "{\"a\"::1}"}) {
    EXPECT_THAT(decode(bad), StartsWith("malformed_json: ")) << bad;
  }
  EXPECT_THAT(decode(std::string_view("{\"a\":1\0}", 8)), StartsWith("malformed_json: "));
  EXPECT_THAT(decode(std::string_view("{}\0", 3)), StartsWith("malformed_json: "));
  EXPECT_THAT(decode(std::string_view("\0", 1)), StartsWith("malformed_json: "));
  EXPECT_EQ(decode(good + " \r\n\t"), "u: E @0");
  EXPECT_EQ(decode(" \r\n\t" + good), "u: E @0");
  EXPECT_EQ(decode("\xEF\xBB\xBF" + good), "u: E @0");
  EXPECT_THAT(decode("\xEF\xBB\xBF"), StartsWith("empty_body: "));
  EXPECT_EQ(decode(""), "empty_body: the record has no value");
  EXPECT_EQ(decode(" \n"), "empty_body: the body is blank");
  EXPECT_EQ(
      decode(good + good),
      "malformed_json: something follows the object that is the body; send one record an event");
  for (const std::string& cut : {good + " x", good + ",", good.substr(0, good.size() - 2)}) {
    EXPECT_EQ(decode(cut),
              "malformed_json: not JSON: it breaks off, a bracket is missing, or something follows "
              "the object")
        << cut;
  }
}

// Where nothing is escaped, strings are not copied.
TEST_F(DecoderTest, StringsOfAnyLengthAreTheSameWithAndWithoutEscapesBesideThem) {
  for (size_t length = 1; length < 40; ++length) {
    const std::string key(length, 'k');
    const std::string text = std::string(length - 1, 'v') + "é";
    refer({key.c_str()});
    for (const char* beside : {"", R"("x":"\n",)"}) {
      EXPECT_EQ(properties(fmt::format(R"({{{}"{}":"{}"}})", beside, key, text)),
                fmt::format("u: E @0 {}='{}'", key, text))
          << beside;
    }
  }
}

TEST_F(DecoderTest, BlanksMayStandAroundEverything) {
  refer({"a", "long property", "l", "o.x"});
  for (const char* blank : {"", " ", "\n", " \t\r\n ", "                    "}) {
    for (const char* beside : {"", R"("x":"\n",)"}) {
      EXPECT_EQ(properties(fmt::format(
                    R"({0}{{{1}{0}"a"{0}:{0}"b"{0},{0}"long property"{0}:{0}""{0},{0}"l"{0}:{0}[)"
                    R"({0}"1 "{0},{0}2{0}]{0},{0}"o"{0}:{0}{{{0}"x"{0}:{0}-1.5e1{0}}}{0}}}{0})",
                    blank, beside)),
                "u: E @0 a='b' l=['1 ',2] long property='' o.x=-15")
          << blank;
    }
  }
}

TEST_F(DecoderTest, RefusesWhatStandsBehindAString) {
  refer({"a"});
  for (const char* bad : {R"({"a":"b"c})", R"({"a":"b" "c"})", R"({"a":"b"1})", R"({"a" "b":1})",
                          R"({"a"b:1})", "{\"a\":\"b\"\x01}", "{\"a\"\x01:1}", R"({"a":1"b"})",
                          R"({"x":"b"c})", R"({"x":"b" "c"})"}) {
    EXPECT_THAT(properties(bad), StartsWith("malformed_json: ")) << bad;
  }
}

TEST_F(DecoderTest, RefusesWhatIsNotUtf8) {
  for (const char* bad :
       {"\x80", "\xC0\xAF", "\xE2\x28\xA1", "\xED\xA0\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    EXPECT_EQ(properties(fmt::format(R"({{"y":"{}"}})", bad)),
              "invalid_utf8: the body is not UTF-8");
    EXPECT_EQ(properties(fmt::format(R"({{"{}":1}})", bad)), "invalid_utf8: the body is not UTF-8");
    // With another fault beside it, the same.
    EXPECT_EQ(decode(fmt::format(R"({{"a":"{})", bad)), "invalid_utf8: the body is not UTF-8");
  }
}

TEST_F(DecoderTest, BoundsTheDepth) {
  refer({"x", "l"});
  const auto nested = [](int depth, const char* open, const char* close, const char* inner) {
    std::string text;
    for (int i = 0; i < depth; ++i) text += open;
    text += inner;
    for (int i = 0; i < depth; ++i) text += close;
    return text;
  };
  // The body, and properties.
  EXPECT_EQ(properties(fmt::format(R"({{"l":{}}})", nested(30, "[", "]", "1"))), "u: E @0 l=[1]");
  EXPECT_THAT(properties(fmt::format(R"({{"l":{}}})", nested(31, "[", "]", "1"))),
              StartsWith("too_deep: "));
  for (const char* key : {"x", "y"}) {
    EXPECT_THAT(properties(fmt::format(R"({{"{}":{}}})", key, nested(30, R"({"a":)", "}", "1"))),
                StartsWith("u: E"));
    EXPECT_THAT(properties(fmt::format(R"({{"{}":{}}})", key, nested(31, R"({"a":)", "}", "1"))),
                StartsWith("too_deep: "));
    EXPECT_THAT(properties(fmt::format(R"({{"{}":{}}})", key, nested(15, R"([{"a":)", "}]", "1"))),
                StartsWith("u: E"));
    EXPECT_THAT(properties(fmt::format(R"({{"{}":{}}})", key, nested(15, R"([{"a":)", "}]", "[]"))),
                StartsWith("too_deep: "));
  }
  EXPECT_THAT(track(fmt::format(R"("other":{})", nested(31, "[", "]", ""))), StartsWith("u: E"));
  EXPECT_THAT(track(fmt::format(R"("other":{})", nested(32, "[", "]", ""))),
              StartsWith("too_deep: "));
  EXPECT_THAT(identify(nested(31, R"({"a":)", "}", "1")), StartsWith("u: "));
  EXPECT_THAT(identify(nested(32, R"({"a":)", "}", "1")), StartsWith("too_deep: "));
  EXPECT_THAT(decode(std::string(100'000, '[')), StartsWith("malformed_json: "));
  EXPECT_THAT(decode(nested(100'000, R"({"":)", "}", "1").substr(0, kMaxEventBytes)),
              StartsWith("malformed_json: "));
  EXPECT_THAT(decode(nested(20'000, R"({"":)", "}", "1")), StartsWith("too_deep: "));
}

TEST_F(DecoderTest, BoundsTheSize) {
  refer({"x"});
  const std::string head = R"({"type":"track","userId":"u","event":"E","properties":{"x":")";
  const std::string tail = R"("}})";
  const std::string most(kMaxEventBytes - head.size() - tail.size(), 'x');
  EXPECT_EQ(decode(head + most + tail), fmt::format("u: E @0 x='{}'", most));
  EXPECT_EQ(decode(head + most + "x" + tail),
            "too_large: the value has 262145 bytes; at most 262144 are allowed");
  EXPECT_EQ(decode(head + "small" + tail), "u: E @0 x='small'");
}

TEST_F(DecoderTest, BoundsTheProfile) {
  std::string traits = "{";
  for (int i = 0; i < 4096; ++i) traits += fmt::format(R"("p{}":1,)", i);
  traits.back() = '}';
  EXPECT_THAT(identify(traits), StartsWith("u:  @0 | set p0=1"));
  traits.back() = ',';
  EXPECT_THAT(identify(traits + R"("p":1})"), StartsWith("profile_too_large: "));
  // Once more the same property is no further one.
  EXPECT_THAT(identify(traits + R"("p7":2})"), StartsWith("u:  @0 | set p0=1"));
  EXPECT_THAT(identify(fmt::format(R"({{"a":{{"{}":1}}}})", std::string(1022, 'b'))),
              StartsWith("u:  @0 | set a.b"));
  EXPECT_THAT(identify(fmt::format(R"({{"a":{{"{}":1}}}})", std::string(1023, 'b'))),
              StartsWith("profile_too_large: "));
  EXPECT_THAT(identify(fmt::format(R"({{"{}":1}})", std::string(1025, 'b'))),
              StartsWith("profile_too_large: "));
}

TEST_F(DecoderTest, DuplicatesInMassesAreCheap) {
  refer({"a", "l[].x"});
  std::string many = "{";
  while (many.size() < 200'000) many += R"("a":1,"l":[{"x":1,"x":2}],)";
  many.back() = '}';
  EXPECT_EQ(properties(many), "u: E @0 a=1 l[].x=[2]");
  EXPECT_EQ(identify(many), "u:  @0 | set a=1 | set l[].x=[2]");
}

TEST_F(DecoderTest, UnderstandsProtobuf) {
  refer({"amount", "cart.id", "items[].sku", "vip", "tags", "context.ip", "none"});
  segments::v1::Event message;
  message.set_user_id("u");
  message.set_anonymous_id("a");
  message.set_message_id("m");
  message.set_name("Charged");
  message.set_time_ms(kNow - 5);
  auto& properties = *message.mutable_properties();
  properties["amount"].set_number(1.5);
  properties["cart.id"].set_string("c");
  properties["vip"].set_boolean(false);
  properties["items[].sku"].mutable_list()->add_values()->set_string("x");
  properties["tags"].mutable_list();
  properties["context.ip"].set_string("i");
  properties["other"].set_number(7);
  properties["none"];
  EXPECT_EQ(decode(message),
            "u: Charged @-5 #m amount=1.5 cart.id='c' context.ip='i' items[].sku=['x'] tags=[] "
            "vip=false");

  segments::v1::Event profile;
  profile.set_anonymous_id("u");
  const auto add = [&profile](segments::v1::ProfileCommand::Operation operation,
                              const char* property) {
    auto* command = profile.add_profile();
    command->set_operation(operation);
    command->set_property(property);
    return command->mutable_value();
  };
  using Command = segments::v1::ProfileCommand;
  add(Command::SET, "address.city")->set_string("Pune");
  add(Command::SET, "n")->set_number(1);
  add(Command::INCR, "n")->set_number(2);
  add(Command::DECR, "n")->set_number(3);
  add(Command::ADD, "tags")->set_string("a");
  add(Command::REMOVE, "tags")->mutable_list()->add_values()->set_boolean(true);
  add(Command::SET, "none")->mutable_list();
  add(Command::DELETE, "old");
  EXPECT_EQ(decode(profile),
            "u:  @0 | set address.city='Pune' | set n=1 | incr n=2 | decr n=3 | add tags=['a'] | "
            "remove tags=[true] | set "
            "none=[] | delete old");
}

TEST_F(DecoderTest, RefusesBadProtobuf) {
  refer({"x"});
  segments::v1::Event good;
  good.set_user_id("u");
  good.set_name("E");
  const auto with = [&good](auto change) {
    segments::v1::Event message = good;
    change(message);
    return message;
  };
  using Message = segments::v1::Event;
  EXPECT_EQ(decode(with([](Message& m) { m.clear_user_id(); })),
            "no_user: neither user_id nor anonymous_id names the user");
  EXPECT_EQ(decode(with([](Message& m) { m.set_user_id("v"); })),
            "key_mismatch: the record's key is not the ID of the body's user");
  EXPECT_EQ(decode(with([](Message& m) { m.clear_name(); })),
            "no_event_name: name is empty, and there are no profile commands");
  EXPECT_THAT(decode(with([](Message& m) { m.set_message_id(std::string(1025, 'm')); })),
              StartsWith("too_long: "));
  for (const char* key : {"x", "y"}) {
    EXPECT_THAT(decode(with([&](Message& m) { (*m.mutable_properties())[key].set_number(NAN); })),
                StartsWith("bad_number: "));
    EXPECT_THAT(decode(with([&](Message& m) {
                  (*m.mutable_properties())[key].mutable_list()->add_values()->set_number(INFINITY);
                })),
                StartsWith("bad_number: "));
  }
  EXPECT_THAT(decode(with([](Message& m) { m.set_time_ms(INT64_MIN); })),
              StartsWith("bad_timestamp: "));
  EXPECT_EQ(decode(with([](Message& m) { m.set_time_ms(INT64_MAX); })), "u: E @0 (time replaced)");
  const auto command = [](segments::v1::ProfileCommand::Operation operation, const char* property) {
    return [=](Message& m) {
      auto* c = m.add_profile();
      c->set_operation(operation);
      c->set_property(property);
    };
  };
  using Command = segments::v1::ProfileCommand;
  EXPECT_THAT(decode(with(command(Command::SET, ""))), StartsWith("bad_profile_command: "));
  EXPECT_THAT(decode(with(command(Command::SET, "p"))),
              StartsWith("bad_profile_command: SET has no value"));
  EXPECT_THAT(decode(with(command(Command::ADD, "p"))), StartsWith("bad_profile_command: "));
  EXPECT_THAT(decode(with(command(Command::INCR, "p"))),
              StartsWith("bad_profile_command: INCR and DECR take a number"));
  EXPECT_THAT(decode(with(command(Command::OPERATION_UNSPECIFIED, "p"))),
              StartsWith("bad_profile_command: "));
  EXPECT_THAT(decode(with([](Message& m) {
                auto* list = (*m.mutable_properties())["y"].mutable_list();
                for (int i = 0; i < 31; ++i) list = list->add_values()->mutable_list();
              })),
              StartsWith("too_deep: "));
  EXPECT_THAT(decode_as("application/x-protobuf", good.SerializeAsString() + "\x0A\x01\xFF"),
              StartsWith("invalid_utf8: "));
  const std::string bytes = good.SerializeAsString();
  EXPECT_THAT(decode_as("application/x-protobuf", bytes.substr(0, bytes.size() - 1)),
              StartsWith("malformed_protobuf: "));
  EXPECT_THAT(decode_as("application/x-protobuf", ""), StartsWith("empty_body: "));
}

TEST_F(DecoderTest, JoinsThePiecesOfAMessage) {
  refer({"x"});
  segments::v1::Event event;
  event.set_user_id("u");
  event.set_name("E");
  const auto field = [](char tag, const std::string& bytes) {
    return std::string{tag, static_cast<char>(bytes.size())} + bytes;
  };
  const auto list = [](const char* item) {
    segments::v1::PropertyValue value;
    value.mutable_list()->add_values()->set_string(item);
    return value.SerializeAsString();
  };
  const auto entry = [&](const std::string& first, const std::string& second) {
    const std::string bytes = field(0x12, first) + field(0x12, second) + field(0x0A, "x");
    return decode_as("application/x-protobuf", event.SerializeAsString() + field(0x32, bytes));
  };
  EXPECT_EQ(entry(list("a"), list("b")), "u: E @0 x=['a','b']");
  EXPECT_EQ(entry(list("a"), field(0x0A, "b")), "u: E @0 x='b'");
  EXPECT_EQ(entry(list("a"), ""), "u: E @0 x=['a']");
  // Together they would be one.
  EXPECT_THAT(entry(field(0x0A, "b").substr(0, 2), "b"), StartsWith("malformed_protobuf: "));
}

TEST_F(DecoderTest, UnderstandsTheJsonOfProtobuf) {
  refer({"amount"});
  EXPECT_EQ(
      decode(
          R"({"user_id":"u","name":"Charged","time_ms":"1775033999000","properties":{"amount":{"number":5}}})"),
      "u: Charged @-1000 amount=5");
  EXPECT_EQ(
      decode(
          R"({"userId":"u","profile":[{"operation":"SET","property":"p","value":{"string":"x"}}]})"),
      "u:  @0 | set p='x'");
  EXPECT_THAT(decode(R"({"userId":"u","name":"Charged","color":"red"})"),
              StartsWith("unknown_type: \"type\" is missing"));
}

TEST_F(DecoderTest, DecodesLinesOfFiles) {
  Event event;
  std::string_view user;
  refer({"x"});
  const auto line = [&](std::string_view text) {
    const DecodeResult result = decoder_.decode_line(text, Offset(3), fields_, &event, &user);
    return result.ok() ? Show(event, user, fields_)
                       : fmt::format("{}: {}", DecodeErrorCode(result.error), result.detail);
  };
  EXPECT_EQ(
      line(
          R"({"type":"track","userId":"v","event":"E","timestamp":"2036-04-01","properties":{"x":1}})"),
      "v: E @315586800000 x=1");
  EXPECT_EQ(event.record_time, event.time);
  EXPECT_EQ(event.offset, Offset(3));
  EXPECT_EQ(line(R"({"type":"event","identity":"v","evtName":"E","ts":1775034000})"), "v: E @0");
  EXPECT_EQ(line(R"({"user_id":"v","name":"E","time_ms":"1775034000000"})"), "v: E @0");
  EXPECT_THAT(line(R"({"type":"track","userId":"v","event":"E"})"),
              StartsWith("missing_timestamp: "));
  EXPECT_THAT(line(R"({"type":"track","userId":"v","event":"E","timestamp":1e300})"),
              StartsWith("bad_timestamp: "));
  EXPECT_THAT(line(""), StartsWith("empty_body: "));
}

TEST(DecodeErrors, HaveDistinctCodes) {
  std::set<std::string_view> codes;
  for (int i = 0; i < kDecodeErrors; ++i)
    codes.insert(DecodeErrorCode(static_cast<DecodeError>(i)));
  EXPECT_EQ(codes.size(), static_cast<size_t>(kDecodeErrors));
  EXPECT_EQ(DecodeErrorCode(DecodeError::kNone), "");
}

}  // namespace
}  // namespace segmentd
