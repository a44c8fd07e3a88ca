-- What a script finds: runs once per Lua state, before any script. `host` has what the engine gives; functions of its
-- libraries answer whether they succeeded, and their values or an error's text. Nothing here can be changed by a script, so
-- that no script meets what another one left behind.
local host = ...
local raw_pcall, raw_xpcall, raw_error, raw_type, raw_select = pcall, xpcall, error, type, select
local raw_setmetatable, raw_getmetatable, raw_tostring, raw_tonumber = setmetatable, getmetatable, tostring, tonumber
local raw_setfenv, raw_load, raw_loadstring, raw_next, raw_pairs = setfenv, load, loadstring, next, pairs
local raw_rawget, raw_rawset, raw_collectgarbage = rawget, rawset, collectgarbage
local raw_resume, raw_wrap, raw_create = coroutine.resume, coroutine.wrap, coroutine.create

-- The globals of the running script.
local current
local READONLY = "Attempt to modify a readonly table"
-- What may not be changed: the libraries' faces, each with the library, and the globals.
local is_frozen = {}

local function frozen(library)
    local face = raw_setmetatable({}, {
        __index = library,
        __newindex = function() raw_error(READONLY, 2) end,
        __metatable = false,
    })
    is_frozen[face] = library
    return face
end

-- Errors of the host and of `redis.*`, as redis has them: tables with `err`, and no line in the text.
local function problem(text) return { err = text } end

-- An error of the host on its way is userdata; whoever catches it gets what was raised.
local function as_table(e)
    if raw_type(e) ~= "userdata" then return e end
    local text, is_table, of_call = host.raised()
    if is_table then return { err = text, ignore_error_stats_update = of_call } end
    return text
end

local function as_text(e)
    e = as_table(e)
    if raw_type(e) == "table" and e.err then return e.err end
    return e
end

-- A script that is to end does not go on by catching the error that says so.
local function after(as, ok, ...)
    if host.ended() then raw_error(host.why(), 0) end
    if ok then return ok, ... end
    return ok, as(...)
end

-- Strings: Lua's own, but for what may run without end.
do
    local raw_first, raw_gsub = host.first, host.gsub
    string.rep = host.rep
    string.find, string.match, string.gmatch, string.gfind = host.find, host.match, host.gmatch, host.gmatch
    string.gsub = function(...)
        local text, pattern, with, most = ...
        local kind = raw_type(with)
        if kind ~= "function" and kind ~= "table" then
            local result, count = raw_gsub(...)
            return result, count
        end
        local anchored
        text, pattern, anchored, most = host.prepared(text, pattern, most)
        local parts, count, at = {}, 0, 1
        local function replace(from, past, first, ...)
            if not from then return nil end
            local value
            if kind == "table" then value = with[first] else value = with(first, ...) end
            local found = raw_type(value)
            if not value then
                value = text:sub(from, past - 1)
            elseif found ~= "string" and found ~= "number" then
                raw_error("invalid replacement value (a " .. found .. ")", 3)
            end
            parts[#parts + 1] = text:sub(at, from - 1)
            parts[#parts + 1] = value
            return from, past
        end
        while count < most do
            local from, past = replace(raw_first(text, pattern, at, anchored))
            if not from then break end
            count = count + 1
            if past > from then
                at = past
            elseif from <= #text then
                parts[#parts + 1] = text:sub(from, from)
                at = from + 1
            else
                at = from
                break
            end
            if anchored then break end
        end
        parts[#parts + 1] = text:sub(at)
        return table.concat(parts), count
    end
end

-- Tables: these write past __newindex, and count from wherever they are told.
for _, name in ipairs({ "insert", "remove", "sort", "setn" }) do
    local raw = table[name]
    table[name] = function(list, ...)
        if raw_type(list) ~= "table" then
            raw_error("bad argument #1 to '" .. name .. "' (table expected, got " .. raw_type(list) .. ")", 2)
        end
        if is_frozen[list] then
            if name == "insert" then raw_error(problem("ERR " .. READONLY)) end
            -- To Lua a library is an empty list: there is nothing to remove or to sort.
            list = {}
        end
        if name == "insert" then
            local count, at = raw_select("#", ...), ...
            if count ~= 1 and count ~= 2 then raw_error("wrong number of arguments to 'insert'", 2) end
            if count == 2 and (raw_tonumber(at) or 0) < -1000000 then
                raw_error("bad argument #2 to 'insert' (position out of bounds)", 2)
            end
        end
        if name ~= "sort" then return raw(list, ...) end
        raw(list, ...)
        host.look()
    end
end

math.random, math.randomseed = host.random, host.randomseed

-- The engine puts call and pcall in for each script; the others ask it through pcall, by what no script has.
local SECRET = host.secret
local redis = {}
local function common(redis)
    redis.setresp = function(...)
        if raw_select("#", ...) ~= 1 then raw_error(problem("ERR redis.setresp() requires one argument.")) end
        return redis.pcall(SECRET, true, ...)
    end
    redis.acl_check_cmd = function(...)
        return redis.pcall(SECRET, false, ...)
    end
    redis.sha1hex, redis.log, redis.set_repl = host.sha1hex, host.log, host.set_repl
    redis.error_reply = function(...)
        local text = ...
        if raw_select("#", ...) ~= 1 or raw_type(text) ~= "string" then
            return problem("ERR wrong number or type of arguments")
        end
        if text:sub(1, 1) == "-" then text = text:sub(2) end
        if not text:find(" ", 1, true) then text = "ERR " .. text end
        return problem(text)
    end
    redis.status_reply = function(...)
        local text = ...
        if raw_select("#", ...) ~= 1 or raw_type(text) ~= "string" then
            return problem("ERR wrong number or type of arguments")
        end
        return { ok = text }
    end
    redis.LOG_DEBUG, redis.LOG_VERBOSE, redis.LOG_NOTICE, redis.LOG_WARNING = 0, 1, 2, 3
    redis.REPL_NONE, redis.REPL_AOF, redis.REPL_SLAVE, redis.REPL_REPLICA, redis.REPL_ALL = 0, 1, 2, 2, 3
    redis.REDIS_VERSION, redis.REDIS_VERSION_NUM = "7.0.15", 0x0007000f
    return redis
end
common(redis)
-- What scripts have and functions have not.
local of_scripts = common({
    replicate_commands = function() return true end,
    breakpoint = function() return false end,
    debug = function() end,
})
host.of_scripts, host.of_functions = of_scripts, redis

raw_getmetatable("").__metatable = false

local open = {}
for _, name in ipairs({ "assert", "error", "ipairs", "rawequal", "select", "tonumber", "tostring", "type", "unpack", "_VERSION", "gcinfo" }) do
    open[name] = _G[name]
end
open.pcall = function(f, ...) return after(as_text, raw_pcall(f, ...)) end
open.xpcall = function(f, handler)
    return after(as_table, raw_xpcall(f, function(e) return handler(as_table(e)) end))
end
-- What Lua's own functions say of their arguments, as these stand between them and the script.
local function wants_table(name, at, ...)
    local given = raw_select("#", ...) < at and "no value" or raw_type((raw_select(at, ...)))
    if given ~= "table" then
        raw_error("bad argument #" .. at .. " to '" .. name .. "' (table expected, got " .. given .. ")", 3)
    end
end
open.next = function(...)
    wants_table("next", 1, ...)
    local t, key = ...
    return raw_next(is_frozen[t] or t, key)
end
open.pairs = function(...)
    wants_table("pairs", 1, ...)
    local t = ...
    local inside = is_frozen[t]
    if not inside then return raw_pairs(t) end
    return function(_, key) return raw_next(inside, key) end, t, nil
end
open.rawget = function(...)
    wants_table("rawget", 1, ...)
    local t, key = ...
    return raw_rawget(is_frozen[t] or t, key)
end
open.rawset = function(...)
    wants_table("rawset", 1, ...)
    local t, key, value = ...
    if is_frozen[t] then raw_error(problem("ERR " .. READONLY)) end
    return raw_rawset(t, key, value)
end
open.setmetatable = function(...)
    wants_table("setmetatable", 1, ...)
    local t, meta = ...
    if raw_select("#", ...) < 2 or (meta ~= nil and raw_type(meta) ~= "table") then
        raw_error("bad argument #2 to 'setmetatable' (nil or table expected)", 2)
    end
    if is_frozen[t] then raw_error(problem("ERR " .. READONLY)) end
    if raw_getmetatable(t) ~= nil and not raw_pcall(raw_setmetatable, t, meta) then
        raw_error("cannot change a protected metatable", 2)
    end
    return raw_setmetatable(t, meta)
end
open.getmetatable = function(t)
    local kind = raw_type(t)
    if kind == "string" then return host.of_strings end
    if t == host.scope or t == host.function_scope then return host.of_globals end
    if is_frozen[t] then return nil end
    return raw_getmetatable(t)
end
-- The collector is everybody's.
open.collectgarbage = function(what)
    if what == "count" then return raw_collectgarbage("count") end
    if what == nil or what == "collect" then return host.collect() end
    if what == "step" then return false end
    if what ~= "stop" and what ~= "restart" and what ~= "setpause" and what ~= "setstepmul" then
        raw_error("bad argument #1 to 'collectgarbage' (invalid option '" .. raw_tostring(what) .. "')", 2)
    end
    return 0
end
local function load_text(text, name)
    -- Compiled chunks can do what no script could write.
    if text:byte() == 27 then return nil, "only the text of a script can be loaded" end
    if #text > host.chunk_bytes_max then return nil, "the text of a script has at most " .. host.chunk_bytes_max .. " bytes" end
    local loaded, why = raw_loadstring(text, name)
    host.look()
    if loaded then raw_setfenv(loaded, current) end
    return loaded, why
end
open.loadstring = function(text, name)
    if raw_type(text) ~= "string" then raw_error("only the text of a script can be loaded", 2) end
    return load_text(text, name)
end
open.load = function(next_part, name)
    local parts = {}
    while true do
        local part = next_part()
        if part == nil or part == "" then break end
        if raw_type(part) ~= "string" then raw_error("reader function must return a string", 2) end
        parts[#parts + 1] = part
    end
    return load_text(table.concat(parts), name or "=(load)")
end
local coroutines = {}
for name, value in raw_pairs(coroutine) do coroutines[name] = value end
coroutines.resume = function(thread, ...) return after(as_table, raw_resume(thread, ...)) end
open.coroutine = frozen(coroutines)
open.string, open.table, open.math, open.os = frozen(string), frozen(table), frozen(math), frozen({ clock = os.clock })
open.redis = frozen(of_scripts)
open.server = open.redis
open.cjson, open.bit, open.cmsgpack, open.struct = frozen(host.cjson), frozen(host.bit), frozen(host.cmsgpack), frozen(host.struct)
host.of_strings = frozen({ __index = open.string })

local function nonexistent(name)
    raw_error("Script attempted to access nonexistent global variable '" .. raw_tostring(name) .. "'", 3)
end
-- What scripts find beside their own: a table and not a function, as each use of a global asks it.
local known = raw_setmetatable({}, { __index = function(_, name) nonexistent(name) end })
for name, value in raw_pairs(open) do known[name] = value end
-- The globals of scripts, one table for all, with nothing of its own: so that whatever is set is set anew, and refused.
local scope = raw_setmetatable({}, {
    __index = known,
    __newindex = function() raw_error(READONLY, 2) end,
    __metatable = false,
})
is_frozen[scope] = known
host.scope, host.known, known._G = scope, known, scope
host.of_globals = frozen({})

-- What an error in a script becomes: a table with `err`, `source` and `line`.
local function ending(e)
    if host.ended() then e = problem(host.why()) end
    e = as_table(e)
    if raw_type(e) ~= "table" then e = problem("ERR " .. raw_tostring(e)) end
    e.source, e.line = host.where()
    return e
end

-- Runs a compiled script, whose globals are `scope`: whether it ended well, and its value or its ending.
local function run(script, keys, argv)
    known.KEYS, known.ARGV = keys, argv
    current = scope
    return raw_xpcall(script, ending)
end

-- The globals of functions: few while their library is loaded, then those of scripts but for what is of one script.
local of_functions = raw_setmetatable({
    redis = frozen(redis), server = nil,
}, { __index = open })
of_functions.server = of_functions.redis
local function not_loading()
    raw_error(problem("ERR redis.register_function can only be called on FUNCTION LOAD command"))
end
-- What registers a function of the library that is being loaded.
local register = not_loading
local while_loading = {
    redis = frozen(raw_setmetatable({
        register_function = function(...) return register(...) end,
        log = redis.log,
        LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
        REDIS_VERSION = redis.REDIS_VERSION, REDIS_VERSION_NUM = redis.REDIS_VERSION_NUM,
    }, { __index = function(_, name) nonexistent(name) end })),
}
while_loading.server = while_loading.redis
local visible = of_functions
local function_scope = raw_setmetatable({}, {
    __index = function(_, name)
        local value = visible[name]
        if value == nil then nonexistent(name) end
        return value
    end,
    __newindex = function() raw_error(READONLY, 2) end,
    __metatable = false,
})
is_frozen[function_scope] = function_scope
host.function_scope, of_functions._G = function_scope, function_scope

-- Reads the arguments of redis.register_function: name, callback, description, flags.
local function registered(...)
    local function refused(why) raw_error(problem("ERR " .. why)) end
    local function is_text(value) return raw_type(value) == "string" or raw_type(value) == "number" end
    local count, name, callback, description, flags = raw_select("#", ...), ...
    if count == 2 then
        if not is_text(name) then refused("first argument to redis.register_function must be a string") end
        if raw_type(callback) ~= "function" then
            refused("second argument to redis.register_function must be a function")
        end
        return raw_tostring(name), callback, nil, {}
    end
    if count ~= 1 then refused("wrong number of arguments to redis.register_function") end
    if raw_type(name) ~= "table" then
        refused("calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).")
    end
    local named = name
    name, callback, description, flags = nil, nil, nil, {}
    for key, value in raw_next, named do
        if key == "function_name" then
            if not is_text(value) then
                refused("function_name argument given to redis.register_function must be a string")
            end
            name = raw_tostring(value)
        elseif key == "description" then
            if not is_text(value) then
                refused("description argument given to redis.register_function must be a string")
            end
            description = raw_tostring(value)
        elseif key == "callback" then
            if raw_type(value) ~= "function" then
                refused("callback argument given to redis.register_function must be a function")
            end
            callback = value
        elseif key == "flags" then
            if raw_type(value) ~= "table" then
                refused("flags argument to redis.register_function must be a table representing function flags")
            end
            flags = {}
            for at = 1, #value do
                if raw_type(value[at]) ~= "string" then refused("unknown flag given") end
                flags[at] = value[at]
            end
        else
            refused("unknown argument given to redis.register_function")
        end
    end
    if not name then refused("redis.register_function must get a function name argument") end
    if not callback then refused("redis.register_function must get a callback argument") end
    return name, callback, description, flags
end

-- Runs the code of a library; `add` takes each function and answers what is wrong with it.
local function load_library(code, add)
    visible, current = while_loading, function_scope
    raw_setfenv(code, function_scope)
    register = function(...)
        local why = add(registered(...))
        if why then raw_error(problem("ERR " .. why)) end
    end
    local ok, e = raw_xpcall(code, ending)
    register, visible = not_loading, of_functions
    return ok, e
end

local function call_function(f, keys, argv)
    current, visible = function_scope, of_functions
    return raw_xpcall(function() return f(keys, argv) end, ending)
end

return run, load_library, call_function
