-- What a script finds: runs once per Lua state, before any script. `host` has what the engine gives; functions there
-- answer whether they succeeded and a value or an error. Nothing here can be changed by a script, so that no script meets
-- what another one left behind.
local host = ...
local raw_pcall, raw_xpcall, raw_error, raw_type, raw_select = pcall, xpcall, error, type, select
local raw_setmetatable, raw_tostring, raw_setfenv, raw_loadstring = setmetatable, tostring, setfenv, loadstring

-- The globals of the running script.
local current
local READONLY = "Attempt to modify a readonly table"
local is_frozen = {}

local function frozen(library)
    local face = raw_setmetatable({}, {
        __index = library,
        __newindex = function() raw_error(READONLY, 2) end,
        __metatable = false,
    })
    is_frozen[face] = true
    return face
end

-- These write past __newindex.
for _, name in ipairs({ "insert", "remove", "sort" }) do
    local raw = table[name]
    table[name] = function(list, ...)
        if is_frozen[list] then raw_error(READONLY, 2) end
        return raw(list, ...)
    end
end

-- The errors of calls are objects of the host on their way; a script that catches one gets its text, as redis has it.
local function caught(problem)
    if raw_type(problem) == "userdata" then return host.raised() end
    if raw_type(problem) == "table" and problem.err then return problem.err end
    return problem
end

-- A script that is to end does not go on by catching the error that says so.
local function after(ok, ...)
    if host.ended() then raw_error(host.why, 0) end
    if ok then return ok, ... end
    return ok, caught(...)
end

local function checked(ok, value)
    if ok then return value end
    raw_error(value, 3)
end

-- call, pcall and setresp are put in for each script.
local redis = {
    error_reply = function(text)
        if raw_type(text) ~= "string" then return { err = "ERR wrong number or type of arguments" } end
        if text:sub(1, 1) == "-" then text = text:sub(2) end
        if not text:find(" ", 1, true) then text = "ERR " .. text end
        return { err = text }
    end,
    status_reply = function(text)
        if raw_type(text) ~= "string" then return { err = "ERR wrong number or type of arguments" } end
        return { ok = text }
    end,
    sha1hex = host.sha1hex,
    log = host.log,
    set_repl = function() end,
    replicate_commands = function() return true end,
    LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
    REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
    REDIS_VERSION = "7.0.15", REDIS_VERSION_NUM = 0x0007000f,
}

host.redis = redis
getmetatable("").__metatable = false

local kept = {
    "assert", "error", "ipairs", "next", "pairs", "rawequal", "rawget", "select", "setmetatable", "tonumber", "tostring",
    "type", "unpack", "getmetatable", "_VERSION",
}
local open = {}
for _, name in ipairs(kept) do open[name] = _G[name] end
open.pcall = function(f, ...) return after(raw_pcall(f, ...)) end
open.xpcall = function(f, handler)
    return after(raw_xpcall(f, function(problem) return handler(caught(problem)) end))
end
open.loadstring = function(text, name)
    -- Compiled chunks can do what no script could write.
    if raw_type(text) ~= "string" or text:byte() == 27 then raw_error("only the text of a script can be loaded", 2) end
    local loaded, problem = raw_loadstring(text, name)
    if loaded then raw_setfenv(loaded, current) end
    return loaded, problem
end
open.string, open.table, open.math, open.os = frozen(string), frozen(table), frozen(math), frozen({ clock = os.clock })
open.redis, open.server = frozen(redis), frozen(redis)
open.cjson = frozen({
    null = host.null,
    encode = function(value) return checked(host.encode(value)) end,
    decode = function(text) return checked(host.decode(text)) end,
})
open.bit = frozen(host.bit)

local of_globals = {
    __index = function(_, name)
        local value = open[name]
        if value == nil then
            raw_error("Script attempted to access nonexistent global variable '" .. raw_tostring(name) .. "'", 2)
        end
        return value
    end,
    __newindex = function() raw_error(READONLY, 2) end,
    __metatable = false,
}

-- The globals of one script.
local function globals(keys, argv)
    local scope = { KEYS = keys, ARGV = argv }
    scope._G = scope
    is_frozen[scope] = true
    return raw_setmetatable(scope, of_globals)
end

-- Runs a compiled script: whether it ended well, and its value or a table with `err`, `source` and `line`.
return function(script, keys, argv)
    if current then is_frozen[current] = nil end
    current = globals(keys, argv)
    raw_setfenv(script, current)
    return raw_xpcall(script, function(problem)
        if host.ended() then problem = host.why end
        if raw_type(problem) == "userdata" then problem = { err = host.raised() } end
        if raw_type(problem) ~= "table" then problem = { err = "ERR " .. raw_tostring(problem) } end
        problem.source, problem.line = host.where()
        return problem
    end)
end
